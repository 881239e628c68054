"""Check graphs against their bundle, and every score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import BundleCorrupt
from mmperson.inference.bundle import BundleInfo
from mmperson.inference.session import GraphValue, Session
from mmperson.preprocessing.modality import ModalitySpec

_ADVICE: Final = "Export the bundle again, or use another one."
_FLOATS: Final = ("tensor(float)", "tensor(float16)", "tensor(double)")
_TENSORS: Final = {"float32": _FLOATS[0], "uint8": "tensor(uint8)", "int64": "tensor(int64)"}
_MOST_NUMBERS: Final = 1 << 24


def validate_graphs(info: BundleInfo, sessions: Mapping[str, Session]) -> None:
    """Check inputs and outputs of graphs against their bundle.

    Args:
        info: Description of the bundle.
        sessions: Its graphs by name: ``fusion``, and an encoder per modality.

    Raises:
        BundleCorrupt: A graph is missing or unexpected, or has other inputs or outputs.
        MissingExtra: A package for preparing the inputs is not installed.
    """
    info.spec.require()
    expected = {
        f"encoder_{name}": {f"{name}_tokens", f"{name}_tokens_mask"}
        for name in info.spec.modalities
    } | {"fusion": {"scores"}}
    outputs = {name: set(session.outputs) for name, session in sessions.items()}
    if outputs != expected:
        odd = [name for name in {*outputs, *expected} if outputs.get(name) != expected.get(name)]
        raise BundleCorrupt(
            f"The bundle {info.name!r} must have the graphs {', '.join(expected)}; "
            f"missing, unexpected or with other outputs: {', '.join(sorted(odd))}."
        )
    for name, part in info.spec.parts.items():
        _check_input(sessions[f"encoder_{name}"], name, part)
    for session in sessions.values():
        for output in session.outputs:
            _check_output(session, output)
    columns, targets = sessions["fusion"].outputs["scores"][-1], info.targets
    if columns != len(targets):
        raise BundleCorrupt(
            f"The fusion of {info.name!r} returns {columns} scores; "
            f"{len(targets)} are declared: {', '.join(targets)}."
        )


def validate_scores(
    scores: npt.NDArray[np.floating],
    tokens: Mapping[str, GraphValue],
    sessions: Mapping[str, Session],
) -> None:
    """Check shape and finiteness of the scores of one clip.

    Args:
        scores: Output of the fusion; float (1, target) is expected.
        tokens: Inputs of the fusion.
        sessions: Graphs by name.

    Raises:
        BundleCorrupt: The scores have another shape or are not finite; the message names the graph.
    """
    fusion = sessions["fusion"]
    columns = fusion.outputs["scores"][-1]
    if scores.shape != (1, columns):
        raise BundleCorrupt(
            f"{fusion.name} returns scores of shape {scores.shape} for a clip, not (1, {columns}).",
            hint=_ADVICE,
        )
    if not np.isfinite(scores).all():
        faulty = [
            session
            for session in sessions.values()
            if not all(_is_finite(tokens[name]) for name in session.outputs if name in tokens)
        ]
        name = (faulty or [fusion])[0].name
        raise BundleCorrupt(
            f"{name} returns NaN or infinity: the clip has no scores.",
            hint=_ADVICE,
        )


def _is_finite(value: GraphValue) -> bool:
    array = value if isinstance(value, np.ndarray) else value.numpy()
    return bool(np.isfinite(array).all())


def _check_input(session: Session, name: str, part: ModalitySpec) -> None:
    """Check a graph's input against the prepared one."""
    kind, shape = session.types.get(name), session.inputs.get(name, ())
    pairs = zip(shape[1:], part.graph_shape, strict=False)
    fixed = [(axis, size) for axis, size in pairs if isinstance(axis, int) and size is not None]
    if (
        kind != _TENSORS[part.dtype]
        or len(shape) != 1 + len(part.graph_shape)
        or any(axis != size for axis, size in fixed)
    ):
        axes = ", ".join("any" if size is None else str(size) for size in part.graph_shape)
        raise BundleCorrupt(
            f"{session.name} reads {name} as {kind} of shape {shape}; "
            f"{_TENSORS[part.dtype]} of shape (batch, {axes}) is prepared for it.",
            hint=_ADVICE,
        )


def _check_output(session: Session, output: str) -> None:
    """Check type and axes of an output."""
    kind, shape = session.types[output], session.outputs[output]
    axes = "batch, token, dim" if output.endswith("_tokens") else "batch, token"
    if output == "scores":
        axes = "batch, target"
    if kind not in _FLOATS or len(shape) != axes.count(",") + 1:
        raise BundleCorrupt(
            f"{session.name} returns {output} as {kind} of shape {shape}; "
            f"float of shape ({axes}) is needed.",
            hint=_ADVICE,
        )
    fixed = [axis for axis in shape if isinstance(axis, int)]
    if min(fixed, default=1) < 1 or math.prod(fixed) > _MOST_NUMBERS:
        raise BundleCorrupt(
            f"{session.name} returns {output} of shape {shape}; 1 to {_MOST_NUMBERS:,} numbers are "
            "allowed.",
            hint=_ADVICE,
        )
