"""Eight-bit weights: a quarter of the size, and faster on the CPU."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise matrix products and embeddings to int8.

    Weights get a scale per output channel. Activations are quantised as they come, per tensor,
    which is why a clip is always encoded alone: its scores do not depend on its neighbours.

    Args:
        model: A graph in fp32.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        quantised = onnx.load(target)
    del quantised.metadata_props[:]
    quantised.metadata_props.extend(model.metadata_props)
    return quantised
