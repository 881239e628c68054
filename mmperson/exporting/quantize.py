"""Convert graphs to int8 and fp16."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from mmperson.datasets.dataset import ClipDataset
from mmperson.preprocessing.collate import VIDEO_SHOWN, deduplicate_frames
from mmperson.schema import MODALITIES

Precision = Literal["int8", "fp32", "fp16", "int8-static"]
"""Precision of the graphs. ``int8``: the text encoder is quantised dynamically. ``fp32``: nothing
is converted. ``fp16``: every graph is converted, but not its inputs and outputs. ``int8-static``:
as ``int8``, and the other encoders are quantised statically, calibrated on real rows."""
PRECISIONS = get_args(Precision)
_STATIC_OPS = ("Conv", "MatMul", "Gemm")


def convert(
    graphs: dict[str, onnx.ModelProto], precision: Precision, rows: ClipDataset
) -> Iterator[tuple[str, str, onnx.ModelProto]]:
    """Convert the graphs that a precision changes.

    Args:
        graphs: Graphs in fp32 by name: ``encoder_<modality>`` and ``fusion``.
        precision: The precision.
        rows: Real rows that calibrate ``int8-static``.

    Yields:
        Name, precision and converted graph.
    """
    for name, graph in graphs.items():
        match precision, name:
            case (("int8" | "int8-static"), "encoder_text"):
                yield name, "int8", quantize_weights(graph)
            case "int8-static", ("encoder_video" | "encoder_audio"):
                modality = name.removeprefix("encoder_")
                products = any(node.op_type in _STATIC_OPS for node in graph.graph.node)
                if products and next(_inputs(graph, rows, modality), None) is not None:
                    yield name, precision, quantize_static_int8(graph, rows, modality)
            case "fp16", _:
                yield name, precision, to_fp16(graph)


def quantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise matrix products and embeddings of an fp32 graph to int8 dynamically.

    Weights have a scale per output channel. Activations have a scale per tensor, so the runtime
    encodes each clip alone: its scores must not depend on the batch.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        # Preprocessing would change nothing; without this mark the quantiser warns.
        add_pre_process_metadata(copy)
        onnx.save(copy, source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return _with_facts(onnx.load(target), model)


def quantize_static_int8(
    model: onnx.ModelProto, rows: ClipDataset, modality: str
) -> onnx.ModelProto:
    """Quantise weights and activations of an encoder to int8 statically.

    Args:
        model: The encoder's graph in fp32.
        rows: Real rows; those with the modality calibrate the activations.
        modality: The encoder's modality.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        source, folded, target = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        onnx.save(model, source)
        # Folds batch normalisation into the convolution before it.
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            target,
            _Rows(model, rows, modality),
            op_types_to_quantize=list(_STATIC_OPS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return _with_facts(onnx.load(target), model)


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert an fp32 graph to fp16; its inputs and outputs stay in fp32."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # The converter works in place.
    with warnings.catch_warnings():
        # Out-of-range constants are clipped.
        warnings.filterwarnings("ignore", message="the float32 number")
        return _with_facts(convert_float_to_float16(copy, keep_io_types=True), model)


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration one row at a time."""

    def __init__(self, model: onnx.ModelProto, rows: ClipDataset, modality: str) -> None:
        self._batches = _inputs(model, rows, modality)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """Return the encoder's inputs of the next row with the modality, None at the end."""
        return next(self._batches, None)


def _inputs(
    model: onnx.ModelProto, rows: ClipDataset, modality: str
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    names = [entry.name for entry in model.graph.input]
    for row in range(len(rows)):
        batch = {name: value.numpy() for name, value in rows.batch(np.array([row])).items()}
        if batch["present"][0, MODALITIES.index(modality)]:
            if VIDEO_SHOWN in names:
                batch |= deduplicate_frames(batch)
            yield {name: batch[name] for name in names}


def _with_facts(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """Copy the original's metadata to a converted graph."""
    del model.metadata_props[:]
    model.metadata_props.extend(original.metadata_props)
    return model
