"""Fusions and heads of a recipe: one class per registered fusion, selected by ``name``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mmperson.config.section import Section, named


class _Fusion(Section):
    """Fields of every fusion.

    Attributes:
        dim: Width of the fused vectors.
        dropout: Dropout inside the fusion.
        modality_dropout: Probability of hiding a modality from a training sample.
    """

    dim: int = Field(128, ge=8, le=4096)
    dropout: float = Field(0.1, ge=0, lt=1)
    modality_dropout: float = Field(0.3, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        heads = getattr(self, "heads", 1)
        if self.dim % heads:
            raise ValueError(f"dim ({self.dim}) must be a multiple of heads ({heads})")
        return self


class TtfnConfig(_Fusion):
    """Text-centric trait fusion on token sequences.

    Attributes:
        heads: Attention heads.
        layers: Cross-attention blocks.
    """

    name: Literal["ttfn"] = "ttfn"
    heads: int = Field(4, ge=1, le=64)
    layers: int = Field(1, ge=1, le=24)


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


class CrmfConfig(_Fusion):
    """Cross-modal regression with manifold fusion.

    Attributes:
        geometry: ``manifold`` for hyperbolic, spherical and flat experts; ``euclidean`` for three
            flat ones of the same size, for ablation.
        expert_dim: Width of an expert's output.
        temperature: Temperature of the router.
        load_weight: Weight of the load-balancing loss.
    """

    name: Literal["crmf"] = "crmf"
    dim: int = Field(256, ge=8, le=4096)
    geometry: Literal["manifold", "euclidean"] = "manifold"
    expert_dim: int = Field(128, ge=8, le=4096)
    temperature: float = Field(1.0, gt=0)
    load_weight: float = Field(0.01, ge=0)


class DeepImpressionConfig(Section):
    """The concatenated means of all streams, without a layer."""

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
    """Concatenated pooled vectors and one hidden layer: the baseline of all fusions."""

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
    """The regression heads on the fused vectors.

    Attributes:
        name: ``ensemble``, the mean of many small regressors, or ``per_trait``, one regressor per
            target.
        members: Number of regressors of the ensemble.
        shared: Share the ensemble's weights between targets. This needs a fusion with one vector
            per target, and suits correlated targets.
        hidden: Width of the hidden layer of ``per_trait``; 0 for a linear head.
        output: ``linear`` is unbounded, in units of each target's training standard deviation;
            ``sigmoid`` and ``tanh`` are bounded to [0, 1].
        calibrate: After training, fit a linear map of each target's scores on the selection rows.
            It raises R2 and lowers CCC.
    """

    name: Literal["ensemble", "per_trait"] = "ensemble"
    members: int = Field(32, ge=1, le=256)
    shared: bool = False
    hidden: int = Field(32, ge=0, le=4096)
    output: Literal["linear", "sigmoid", "tanh"] = "linear"
    calibrate: bool = False
