"""Fusions and heads of a recipe: one class per registered fusion, told apart by ``name``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mmperson.config.section import Section, named


class _Fusion(Section):
    """What every fusion has.

    Attributes:
        dim: Width of the fused vectors.
        dropout: Dropout inside the fusion.
        modality_dropout: Chance that a modality is hidden from a training sample.
    """

    dim: int = Field(128, ge=8, le=4096)
    dropout: float = Field(0.1, ge=0, lt=1)
    modality_dropout: float = Field(0.3, ge=0, lt=1)


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")


class TtfnConfig(_Fusion):
    """Text-centric trait fusion on token sequences.

    Attributes:
        heads: Attention heads.
        layers: Cross-attention blocks.
    """

    name: Literal["ttfn"] = "ttfn"
    heads: int = Field(4, ge=1, le=64)
    layers: int = Field(1, ge=1, le=24)

    @model_validator(mode="after")
    def _heads_fit(self) -> TtfnConfig:
        _check_heads(self.dim, self.heads)
        return self


class TtfnPublishedConfig(_Fusion):
    """The Text-Centric Trait Fusion Network as published, on pooled vectors.

    Attributes:
        unimodal_dim: Width of the projected audio and video vectors, U.
        heads: Attention heads of the connectors.
    """

    name: Literal["ttfn_published"] = "ttfn_published"
    dim: int = Field(256, ge=8, le=4096)
    unimodal_dim: int = Field(512, ge=8, le=8192)
    heads: int = Field(4, ge=1, le=64)
    dropout: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_fit(self) -> TtfnPublishedConfig:
        _check_heads(self.dim, self.heads)
        return self


class CrmfConfig(_Fusion):
    """Cross-modal regression with manifold fusion.

    Attributes:
        geometry: ``manifold`` for hyperbolic, spherical and flat experts; ``euclidean`` for three
            flat ones of the same size, the mandatory ablation.
        expert_dim: Width of an expert's output.
        temperature: Temperature of the router.
        load_weight: Weight of the term that spreads the load over the experts.
    """

    name: Literal["crmf"] = "crmf"
    dim: int = Field(256, ge=8, le=4096)
    geometry: Literal["manifold", "euclidean"] = "manifold"
    expert_dim: int = Field(128, ge=8, le=4096)
    temperature: float = Field(1.0, gt=0)
    load_weight: float = Field(0.01, ge=0)


class DeepImpressionConfig(Section):
    """The means of all streams, concatenated: no layer of its own.

    Attributes:
        modality_dropout: Chance that a modality is hidden from a training sample.
    """

    name: Literal["deep_impression"] = "deep_impression"
    modality_dropout: float = Field(0.0, ge=0, lt=1)


class TraitQueryConfig(_Fusion):
    """Compact trait-query fusion over one token per modality.

    Attributes:
        dim: Width of the trunk.
        unimodal_dim: Width of a modality's token.
        rank: Rank of the interaction of trunk and trait.
    """

    name: Literal["trait_query"] = "trait_query"
    dim: int = Field(384, ge=8, le=4096)
    unimodal_dim: int = Field(96, ge=8, le=4096)
    rank: int = Field(8, ge=1, le=256)


class GatedPairsConfig(_Fusion):
    """Gated fusion of every pair of modalities, after OCEAN-AI.

    Attributes:
        dim: Width of the trunk.
        pair_dim: Width of a pair's vector.
    """

    name: Literal["gated_pairs"] = "gated_pairs"
    dim: int = Field(50, ge=8, le=4096)
    pair_dim: int = Field(64, ge=8, le=4096)


class LateConfig(_Fusion):
    """One regressor per modality; their scores are averaged with learned weights."""

    name: Literal["late"] = "late"


class ConcatConfig(_Fusion):
    """Pooled vectors side by side, then one hidden layer: the baseline of all fusions."""

    name: Literal["concat"] = "concat"


FusionConfig = Annotated[
    TtfnConfig
    | TtfnPublishedConfig
    | CrmfConfig
    | DeepImpressionConfig
    | TraitQueryConfig
    | GatedPairsConfig
    | LateConfig
    | ConcatConfig,
    Field(discriminator="name"),
    BeforeValidator(named("ttfn")),
]


class HeadsConfig(Section):
    """How the fused vectors become scores.

    Attributes:
        name: ``ensemble``, the mean of many small regressors, or ``per_trait``, one regressor for
            each target.
        members: Regressors of the ensemble.
        shared: Whether the targets share the ensemble's weights. It needs a fusion that gives each
            target a vector of its own, and suits targets that go together; others are not told
            apart.
        hidden: Width of the hidden layer of ``per_trait``; 0 for a linear one.
        output: What bounds the scores: ``linear`` for none, or ``sigmoid`` or ``tanh``, both on
            [0, 1]. A linear output counts in units of each target's training spread.
        calibrate: After training, put a straight line through each target's scores of the selection
            rows. It raises R2 and lowers CCC.
    """

    name: Literal["ensemble", "per_trait"] = "ensemble"
    members: int = Field(32, ge=1, le=256)
    shared: bool = False
    hidden: int = Field(32, ge=0, le=4096)
    output: Literal["linear", "sigmoid", "tanh"] = "linear"
    calibrate: bool = False
