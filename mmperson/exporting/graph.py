"""Export a module as an ONNX graph."""

from __future__ import annotations

import warnings
from typing import Any

import onnx
import torch
from torch.export import Dim

from mmperson.errors import ExportError
from mmperson.exporting.wrapper import FusionGraph, Part

OPSET = 20
"""The newest opset that ONNX Runtime's int8 quantiser reads without a warning. Opset 23 is no
faster on the CPU, where attention runs as matrix products."""
HALF_OPSET = 23
"""For fp16 on GPUs: from opset 23 on, attention and GELU are single operators with CUDA kernels."""


def export_graph(part: Part, facts: dict[str, str], opset: int = OPSET) -> onnx.ModelProto:
    """Export a module with dynamic axes and check the graph.

    Args:
        part: Module, example inputs, dynamic axes and output names.
        facts: Entries of ``metadata_props``.
        opset: Version of the operators.

    Raises:
        ExportError: The module cannot be exported, or the graph is invalid.
    """
    # One symbol per axis name, so that inputs share sizes.
    sizes = {
        name: Dim(name, min=1, max=4096) for axes in part.dynamic.values() for name in axes.values()
    }
    shapes = {
        name: {axis: sizes[symbol] for axis, symbol in axes.items()}
        for name, axes in part.dynamic.items()
    }
    try:
        # Without gradients torch chooses kernels that can be exported.
        with warnings.catch_warnings(), torch.no_grad():
            # Inputs share axes on purpose; the exporter warns that it keeps one name.
            warnings.filterwarnings("ignore", message="# The axis name")
            program = torch.onnx.export(
                part.module.eval(),
                args=tuple(part.inputs.values()),
                dynamic_shapes=_by_argument(part, shapes),
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        if program is None:
            raise ExportError(f"{part.outputs[0]} was not exported.")
        model = program.model_proto
        onnx.checker.check_model(model)
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError) as error:
        raise ExportError(f"The graph of {part.outputs[0]} cannot be exported: {error}") from error
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    return model


def _by_argument(part: Part, shapes: dict[str, dict[int, Dim]]) -> tuple[Any, ...]:
    """Arrange dynamic axes like the module's arguments; a fusion takes ``*tokens``."""
    axes = tuple(shapes[name] for name in part.inputs)
    return (axes[0], axes[1:]) if isinstance(part.module, FusionGraph) else axes
