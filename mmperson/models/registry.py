"""Every component by name. Adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from mmperson.errors import UnknownComponent
from mmperson.models.encoders.descriptors import DescriptorEncoder
from mmperson.models.fusion.ttfn import TextCentricFusion
from mmperson.models.heads import EnsembleHead

AUDIO_ENCODERS: Mapping[str, Callable[..., nn.Module]] = {"descriptors": DescriptorEncoder}
FUSIONS: Mapping[str, Callable[..., nn.Module]] = {"ttfn": TextCentricFusion}
HEADS: Mapping[str, Callable[..., nn.Module]] = {"ensemble": EnsembleHead}


def component(
    kind: str, registry: Mapping[str, Callable[..., Any]], name: str
) -> Callable[..., Any]:
    """Look a component up.

    Raises:
        UnknownComponent: There is none of that name.
    """
    if name not in registry:
        raise UnknownComponent(kind, name, registry)
    return registry[name]
