"""Whether graphs say what a bundle promises: checked before they run, and of each score."""

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
    """Hold graphs to what their bundle says that it reads and gives.

    Args:
        info: Facts of the bundle.
        sessions: Its graphs by name: ``fusion``, and an encoder per modality.

    Raises:
        BundleCorrupt: One is missing or too many, or reads or gives something else.
        MissingExtra: What the bundle reads cannot be prepared here.
    """
    info.spec.require()
    wanted = {
        f"encoder_{name}": {f"{name}_tokens", f"{name}_tokens_mask"}
        for name in info.spec.modalities
    } | {"fusion": {"scores"}}
    found = {name: set(session.outputs) for name, session in sessions.items()}
    if found != wanted:
        odd = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
        raise BundleCorrupt(
            f"The bundle {info.name!r} should have the graphs {', '.join(wanted)}, with their "
            f"outputs; missing, too many or with other outputs: {', '.join(sorted(odd))}."
        )
    for name, part in info.spec.parts.items():
        _check_input(sessions[f"encoder_{name}"], name, part)
    for session in sessions.values():
        for output in session.outputs:
            _check_output(session, output)
    columns, targets = sessions["fusion"].outputs["scores"][-1], info.targets
    if columns != len(targets):
        raise BundleCorrupt(
            f"The fusion of {info.name!r} gives {columns} scores; "
            f"{len(targets)} are named: {', '.join(targets)}."
        )


def validate_scores(
    scores: npt.NDArray[np.floating],
    tokens: Mapping[str, GraphValue],
    sessions: Mapping[str, Session],
) -> None:
    """Refuse what is no score per target of one clip.

    Args:
        scores: What the fusion says; float (1, target) is wanted.
        tokens: What it was fed with.
        sessions: Graphs by name.

    Raises:
        BundleCorrupt: The scores have another shape, or are not finite; the graph is named.
    """
    fusion = sessions["fusion"]
    columns = fusion.outputs["scores"][-1]
    if scores.shape != (1, columns):
        raise BundleCorrupt(
            f"{fusion.name} gives scores of shape {scores.shape} for a clip, not (1, {columns}).",
            hint=_ADVICE,
        )
    if not np.isfinite(scores).all():
        guilty = [
            session
            for session in sessions.values()
            if not all(_is_finite(tokens[name]) for name in session.outputs if name in tokens)
        ]
        name = (guilty or [fusion])[0].name
        raise BundleCorrupt(
            f"{name} gives what is infinite or no number at all: the clip has no scores.",
            hint=_ADVICE,
        )


def _is_finite(value: GraphValue) -> bool:
    array = value if isinstance(value, np.ndarray) else value.numpy()
    return bool(np.isfinite(array).all())


def _check_input(session: Session, name: str, part: ModalitySpec) -> None:
    """Hold what a graph reads to what is prepared for it."""
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
    """Hold an output to the type and the axes that its readers take for granted."""
    kind, shape = session.types[output], session.outputs[output]
    axes = "batch, token, dim" if output.endswith("_tokens") else "batch, token"
    if output == "scores":
        axes = "batch, target"
    if kind not in _FLOATS or len(shape) != axes.count(",") + 1:
        raise BundleCorrupt(
            f"{session.name} gives {output} as {kind} of shape {shape}; "
            f"float of shape ({axes}) is needed.",
            hint=_ADVICE,
        )
    fixed = [axis for axis in shape if isinstance(axis, int)]
    if min(fixed, default=1) < 1 or math.prod(fixed) > _MOST_NUMBERS:
        raise BundleCorrupt(
            f"{session.name} gives {output} of shape {shape}; from 1 to {_MOST_NUMBERS:,} numbers "
            "are allowed.",
            hint=_ADVICE,
        )
