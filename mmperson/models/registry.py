"""All components by name. To add one, write its module and recipe section, and add a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from torch import nn

from mmperson.errors import UnknownComponent
from mmperson.models.encoders.contours import ContourEncoder
from mmperson.models.encoders.dialogue import DialogueEncoder
from mmperson.models.encoders.encoder import Encoder
from mmperson.models.encoders.frames import FramesEncoder
from mmperson.models.encoders.log_mel import LogMelEncoder
from mmperson.models.encoders.questionnaire import QuestionnaireEncoder
from mmperson.models.encoders.residual import ResidualAudioEncoder, ResidualVideoEncoder
from mmperson.models.encoders.sequence import SequenceEncoder
from mmperson.models.encoders.text import TextEncoder
from mmperson.models.encoders.vector import VectorEncoder
from mmperson.models.encoders.video_network import VideoNetworkEncoder
from mmperson.models.encoders.waveform import WaveformEncoder
from mmperson.models.fusion.concat import ConcatFusion
from mmperson.models.fusion.crmf import ManifoldFusion
from mmperson.models.fusion.deep_impression import DeepImpressionFusion
from mmperson.models.fusion.fusion import Fusion
from mmperson.models.fusion.gated_pairs import GatedPairsFusion
from mmperson.models.fusion.late import LateFusion
from mmperson.models.fusion.recall import RecallingSummary
from mmperson.models.fusion.trait_query import TraitQueryFusion
from mmperson.models.fusion.ttfn import TextCentricFusion
from mmperson.models.fusion.ttfn_published import PublishedTextCentricFusion
from mmperson.models.heads import EnsembleHead, PerTraitHead

_Component = TypeVar("_Component")

ENCODERS: Mapping[str, Mapping[str, type[Encoder]]] = {
    "video": {
        "frames": FramesEncoder,
        "video_network": VideoNetworkEncoder,
        "residual": ResidualVideoEncoder,
    },
    "audio": {
        "log_mel": LogMelEncoder,
        "waveform": WaveformEncoder,
        "residual": ResidualAudioEncoder,
    },
    "text": {
        "transformer": TextEncoder,
        "contours": ContourEncoder,
        "dialogue": DialogueEncoder,
        "questionnaire": QuestionnaireEncoder,
    },
}
"""Encoders of one kind of input."""
GENERIC: Mapping[str, type[Encoder]] = {"vector": VectorEncoder, "sequence": SequenceEncoder}
"""Encoders of any features, see ``ModalitySpec.encoder``."""
FUSIONS: Mapping[str, Callable[..., Fusion]] = {
    "ttfn": TextCentricFusion,
    "ttfn_published": PublishedTextCentricFusion,
    "crmf": ManifoldFusion,
    "deep_impression": DeepImpressionFusion,
    "trait_query": TraitQueryFusion,
    "gated_pairs": GatedPairsFusion,
    "late": LateFusion,
    "concat": ConcatFusion,
}
TAUGHT_FUSIONS: Mapping[str, Callable[..., Fusion]] = {
    "ttfn": partial(TextCentricFusion, summary=RecallingSummary),
}
"""Fusions of recipes with a teacher: variants with a memory that the teacher fills."""
HEADS: Mapping[str, Callable[..., nn.Module]] = {
    "ensemble": EnsembleHead,
    "per_trait": PerTraitHead,
}


def component(kind: str, registry: Mapping[str, _Component], name: str) -> _Component:
    """Return a component by name.

    Raises:
        UnknownComponent: The registry has no such name.
    """
    if name not in registry:
        raise UnknownComponent(kind, name, registry)
    return registry[name]
