"""One module to one ONNX graph."""

from __future__ import annotations

import warnings
from typing import Any

import onnx
import torch
from torch.export import Dim

from mmperson.errors import ExportError
from mmperson.exporting.wrapper import FusionGraph, Part

OPSET = 20
"""The newest opset whose graphs ONNX Runtime's int8 quantiser reads without a warning; 23 gains
nothing on the CPU, where attention runs as plain matrix products."""
HALF_OPSET = 23
"""For fp16, which is meant for GPUs: from here on attention is one operator, for which CUDA has a
kernel, and so is GELU."""


def export_graph(part: Part, facts: dict[str, str], opset: int = OPSET) -> onnx.ModelProto:
    """Export a module with dynamic axes and check the graph.

    Args:
        part: Module, example inputs, dynamic axes and output names.
        facts: Key facts for ``metadata_props``.
        opset: Version of the operators.

    Raises:
        ExportError: The module cannot be exported, or the graph is invalid.
    """
    # One symbol per axis name, so that the graph knows which inputs share a size.
    sizes = {
        name: Dim(name, min=1, max=4096) for axes in part.dynamic.values() for name in axes.values()
    }
    shapes = {
        name: {axis: sizes[symbol] for axis, symbol in axes.items()}
        for name, axes in part.dynamic.items()
    }
    try:
        # Without gradients: torch picks kernels that export.
        with warnings.catch_warnings(), torch.no_grad():
            # Two inputs share an axis on purpose; the exporter says that it keeps one name.
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
    """Arrange dynamic axes as the module's arguments; a fusion takes tokens as ``*tokens``."""
    axes = tuple(shapes[name] for name in part.inputs)
    return (axes[0], axes[1:]) if isinstance(part.module, FusionGraph) else axes
