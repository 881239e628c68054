"""Fusions of pooled vectors: every subset of modalities, what is absent, padding, ONNX."""

import itertools
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim

from mmperson.config import (
    ConcatConfig,
    CrmfConfig,
    DeepImpressionConfig,
    GatedPairsConfig,
    HeadsConfig,
    LateConfig,
    TraitQueryConfig,
    TtfnConfig,
    TtfnPublishedConfig,
)
from mmperson.models.fusion.fusion import Fusion
from mmperson.models.fusion.trait_query import TraitQueryFusion
from mmperson.models.fusion.ttfn_published import (
    ChunkProjector,
    PublishedTextCentricFusion,
    chunk_count,
)
from mmperson.models.heads import EnsembleHead, PerTraitHead
from mmperson.models.layers.kernel_memory import KernelMemory
from mmperson.models.layers.pooling import masked_mean
from mmperson.models.registry import FUSIONS, TAUGHT_FUSIONS
from mmperson.models.tokens import Tokens
from mmperson.schema import MODALITIES

BATCH, TARGETS = 7, 5
DIMS = {"video": 12, "audio": 8, "text": 16}
CASES = {
    "ttfn": (FUSIONS["ttfn"], TtfnConfig(dim=16, heads=2)),
    "ttfn_taught": (TAUGHT_FUSIONS["ttfn"], TtfnConfig(dim=16, heads=2)),
    "concat": (FUSIONS["concat"], ConcatConfig(dim=16)),
    "late": (FUSIONS["late"], LateConfig(dim=16)),
    "gated_pairs": (FUSIONS["gated_pairs"], GatedPairsConfig(dim=16, pair_dim=8)),
    "trait_query": (FUSIONS["trait_query"], TraitQueryConfig(dim=16, unimodal_dim=8, rank=2)),
    "deep_impression": (FUSIONS["deep_impression"], DeepImpressionConfig()),
    "ttfn_published": (
        FUSIONS["ttfn_published"],
        TtfnPublishedConfig(dim=16, unimodal_dim=24, heads=2),
    ),
    "crmf": (FUSIONS["crmf"], CrmfConfig(dim=16, expert_dim=8)),
    "crmf_flat": (FUSIONS["crmf"], CrmfConfig(dim=16, expert_dim=8, geometry="euclidean")),
}
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(MODALITIES, size)]
# A softmax over the one modality that is read is always one.
IDLE = {
    "late": {"weights"},
    "trait_query": {
        "attend.query.weight", "attend.query.bias", "attend.key.weight", "traits", "interact.beta",
        "interact.norm.weight", "interact.norm.bias", "interact.from_trunk.weight",
        "interact.from_trait.weight", "interact.back.weight",
    },
}  # fmt: skip


def build(name, subset=MODALITIES, targets=TARGETS):
    torch.manual_seed(0)
    build_fusion, config = CASES[name]
    fusion = build_fusion(config, {m: DIMS[m] for m in subset}, targets).eval()
    for module in fusion.modules():
        if isinstance(module, KernelMemory):  # Nothing is remembered before a teacher fills it.
            module.offset.fill_(1.0)
            module.weights.fill_(1.0)
    return fusion


def fuse(fusion, tokens, present):
    """Vectors alone."""
    return fusion(tokens, present).vectors


def draw_tokens(subset=MODALITIES, batch=BATCH, seed=1):
    """Two to four real tokens out of five for each clip and modality."""
    random = torch.Generator().manual_seed(seed)
    tokens = {}
    for name in subset:
        lengths = torch.randint(2, 5, (batch, 1), generator=random)
        values = torch.randn(batch, 5, DIMS[name], generator=random)
        tokens[name] = Tokens(values, (torch.arange(5) < lengths).float())
    return tokens


def draw_present(subset):
    """Presence masks of seven clips: all, each alone, two that lack one, none; float (7, 3)."""
    masks = [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 0)]
    reads = torch.tensor([float(name in subset) for name in MODALITIES])
    return torch.tensor(masks).float() * reads


def test_every_registered_fusion_is_a_case():
    cases = {build for build, _ in CASES.values()}
    assert cases == {*FUSIONS.values(), *TAUGHT_FUSIONS.values()}
    assert all(isinstance(build(name), Fusion) for name in CASES)


each_fusion = pytest.mark.parametrize("name", CASES)
each_subset = pytest.mark.parametrize("subset", SUBSETS, ids="-".join)


@each_fusion
@each_subset
def test_every_target_gets_a_vector(name, subset):
    fusion = build(name, subset)
    fused = fuse(fusion, draw_tokens(subset), draw_present(subset))
    assert fused.shape == (BATCH, TARGETS, fusion.dim)
    assert fused.isfinite().all()


@each_fusion
@each_subset
def test_every_parameter_learns(name, subset):
    # Not in evaluation mode, but without dropout: by chance it could silence a parameter.
    fusion = build(name, subset).train()
    for module in fusion.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    tokens = draw_tokens(subset)
    for values, _ in tokens.values():
        values.requires_grad_()
    fused, auxiliary_loss = fusion(tokens, draw_present(subset))
    loss = (fused * torch.randn(fused.shape)).sum() + auxiliary_loss
    loss.backward()
    gradients = {key: parameter.grad for key, parameter in fusion.named_parameters()}
    gradients |= {key: values.grad for key, (values, _) in tokens.items()}
    assert all(x.isfinite().all() for x in gradients.values() if x is not None)
    still = {key for key, gradient in gradients.items() if gradient is None or not gradient.any()}
    # A constant added to every key shifts all scores alike, so softmax passes it no gradient.
    still = {key for key in still if not key.endswith("key.bias")}
    if len(subset) == 1:
        still -= IDLE.get(name, set())
    if "text" not in subset and name.startswith("ttfn"):  # Its place is taken by one token.
        still -= {"read.query.weight", "read.query.bias", "read.key.weight"}
    if subset == ("text",) and name.startswith("ttfn"):  # Nobody answers it.
        still -= {"blocks.0.norm.weight", "blocks.0.norm.bias"}
    if subset == ("text",) and name == "ttfn_published":
        still -= {key for key in still if key.startswith("enhance.weigh.")}
    assert still == set()


@each_fusion
@each_subset
def test_what_is_absent_cannot_change_anything(name, subset):
    fusion, present = build(name, subset), draw_present(subset)
    before = fuse(fusion, draw_tokens(subset), present)
    others = draw_tokens(subset, seed=2)
    for modality, tokens in draw_tokens(subset).items():
        here = present[:, MODALITIES.index(modality)]
        # Another length as well: no token at all.
        others[modality] = Tokens(
            torch.where(here[:, None, None] > 0, tokens.values, 1e3 * others[modality].values),
            tokens.mask * here[:, None],
        )
    torch.testing.assert_close(fuse(fusion, others, present), before)


@each_fusion
@pytest.mark.parametrize("modality", MODALITIES)
def test_what_is_present_matters(name, modality):
    fusion = build(name)
    present = torch.ones(BATCH, 3)
    before = fuse(fusion, draw_tokens(), present)
    changed = draw_tokens() | {modality: draw_tokens(seed=2)[modality]}
    assert (fuse(fusion, changed, present) - before).abs().amax(dim=(1, 2)).min() > 1e-5
    present[:, MODALITIES.index(modality)] = 0.0
    assert (fuse(fusion, draw_tokens(), present) - before).abs().amax(dim=(1, 2)).min() > 1e-5


@each_fusion
def test_padding_and_neighbours_do_not_matter(name):
    fusion, tokens, present = build(name), draw_tokens(), draw_present(MODALITIES)
    together = fuse(fusion, tokens, present)
    for row in range(BATCH):
        alone = {}
        for modality, (values, mask) in tokens.items():
            length = int(mask[row].sum())
            alone[modality] = Tokens(values[row : row + 1, :length], mask[row : row + 1, :length])
        single = fuse(fusion, alone, present[row : row + 1])
        torch.testing.assert_close(single[0], together[row], atol=1e-5, rtol=0)


@each_fusion
def test_a_clip_with_nothing_in_it_is_no_error(name):
    empty = {m: Tokens(t.values, torch.zeros_like(t.mask)) for m, t in draw_tokens().items()}
    fusion = build(name)
    fused = fuse(fusion, empty, torch.zeros(BATCH, 3))
    assert fused.isfinite().all()
    torch.testing.assert_close(fused, fused[:1].expand_as(fused))
    assert fuse(fusion, empty, torch.ones(BATCH, 3)).isfinite().all()


@each_fusion
def test_a_fusion_runs_and_learns_under_autocast(name):
    fusion = build(name).train()
    tokens = {m: Tokens(t.values.bfloat16(), t.mask) for m, t in draw_tokens().items()}
    for values, _ in tokens.values():
        values.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = fuse(fusion, tokens, draw_present(MODALITIES))
    fused.float().square().sum().backward()
    assert fused.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())


class Graph(nn.Module):
    """A fusion with plain tensors in."""

    def __init__(self, fusion, subset):
        super().__init__()
        self.fusion, self.subset = fusion, subset

    def forward(
        self, present, video=None, audio=None, text=None,
        video_mask=None, audio_mask=None, text_mask=None,
    ):  # fmt: skip
        values = {"video": video, "audio": audio, "text": text}
        masks = {"video": video_mask, "audio": audio_mask, "text": text_mask}
        return fuse(self.fusion, {m: Tokens(values[m], masks[m]) for m in self.subset}, present)


def graph_inputs(subset, batch, seed=1):
    inputs = {"present": draw_present(subset)[-batch:]}
    for modality, (values, mask) in draw_tokens(subset, batch, seed).items():
        inputs |= {modality: values, f"{modality}_mask": mask}
    return inputs


# tests/contracts/test_padding.py exports all of them; these have other parts for a single modality.
EXPORTS = [("gated_pairs", ("audio",)), ("ttfn_published", ("audio",))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "subset"), EXPORTS)
def test_the_graph_says_what_the_network_says(name, subset):
    graph = Graph(build(name, subset), subset).eval()
    inputs = graph_inputs(subset, batch=2)
    # One symbol per modality: its values and its mask have the same number of tokens.
    batch, shapes = Dim("batch", min=1), {}
    for key in inputs:
        token = Dim(f"{key.removesuffix('_mask')}_token", min=1)
        shapes[key] = {0: batch} if key == "present" else {0: batch, 1: token}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")
        program = torch.onnx.export(
            graph, (), kwargs=inputs, input_names=list(inputs), dynamic_shapes=shapes,
            opset_version=20, dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
    model = program.model_proto
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert {node.name for node in session.get_inputs()} == set(inputs)
    for clips in (1, 5, 7):
        fed = graph_inputs(subset, clips, seed=clips)
        fed = {key: tensor[:, :4] if key != "present" else tensor for key, tensor in fed.items()}
        (found,) = session.run(None, {key: tensor.numpy() for key, tensor in fed.items()})
        expected = graph(**fed).detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=0)


def test_the_mean_is_over_real_tokens():
    values = torch.tensor([[[1.0], [3.0], [9.0]], [[5.0], [5.0], [5.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert masked_mean(Tokens(values, mask)).tolist() == [[2.0], [0.0]]


def test_late_fusion_with_linear_heads_averages_scores():
    fusion = build("late")
    head = PerTraitHead(HeadsConfig(name="per_trait", hidden=0), fusion.dim, TARGETS)
    nn.init.normal_(fusion.weights)
    tokens, alone = draw_tokens(), {}
    for index, name in enumerate(MODALITIES):
        alone[name] = head(fuse(fusion, tokens, torch.eye(3)[index].expand(BATCH, -1)))
    for present in ((1, 1, 1), (1, 0, 1)):
        here = torch.tensor(present).float()
        weights = fusion.weights.exp() * here[:, None]
        weights = weights / weights.sum(dim=0)
        expected = (torch.stack(list(alone.values())) * weights[:, None]).sum(dim=0)
        torch.testing.assert_close(head(fuse(fusion, tokens, here.expand(BATCH, -1))), expected)


def test_deep_impression_is_the_means_side_by_side():
    fused = fuse(build("deep_impression"), draw_tokens(), draw_present(MODALITIES))
    video, text = (masked_mean(draw_tokens()[name]) for name in ("video", "text"))
    # The fifth clip has no sound.
    expected = torch.cat([video[4], torch.zeros(8), text[4]]).expand(TARGETS, -1)
    torch.testing.assert_close(fused[4], expected)


def test_a_modality_without_a_partner_stands_alone():
    fusion = build("gated_pairs", ("audio",))
    (pair,) = fusion.pairs
    assert pair.gate is None
    assert len(build("gated_pairs", ("video", "text")).pairs) == 1
    assert len(build("gated_pairs").pairs) == 3


def test_a_gate_that_is_open_lets_one_modality_through():
    fusion = build("gated_pairs", ("audio", "text"))
    (pair,) = fusion.pairs
    nn.init.constant_(pair.gate.bias, 100.0)
    tokens = draw_tokens(("audio", "text"))
    before = fuse(fusion, tokens, torch.ones(BATCH, 3))
    tokens["text"] = draw_tokens(seed=2)["text"]
    torch.testing.assert_close(fuse(fusion, tokens, torch.ones(BATCH, 3)), before)


def test_traits_ask_for_themselves():
    fusion = build("trait_query")
    fused = fuse(fusion, draw_tokens(), torch.ones(BATCH, 3))
    assert (fused[:, 0] - fused[:, 1]).abs().max() > 1e-6
    assert fusion.alpha.sigmoid().item() == pytest.approx(0.1)
    assert fusion.interact.beta.sigmoid().item() == pytest.approx(0.1)


def test_the_compact_network_has_about_half_a_million_parameters():
    dims = {"video": 384, "audio": 768 + 25, "text": 1024}
    fusion = TraitQueryFusion(TraitQueryConfig(), dims, TARGETS)
    head = PerTraitHead(HeadsConfig(name="per_trait", hidden=32), fusion.dim, TARGETS)
    assert 0.40e6 < count(fusion) + count(head) < 0.55e6


def test_the_published_network_has_its_number_of_parameters():
    fusion = PublishedTextCentricFusion(TtfnPublishedConfig(), dict.fromkeys(MODALITIES, 4096), 1)
    head = EnsembleHead(HeadsConfig(members=32), fusion.dim, 1)
    assert round((count(fusion) + count(head)) / 1e6, 2) == 6.63


@pytest.mark.parametrize(
    ("wide", "chunks"),
    [(26, 1), (768, 1), (1024, 2), (2048, 4), (4096, 8), (8192, 16), (16384, 32), (1537, 1)],
)
def test_wide_inputs_are_cut_into_chunks(wide, chunks):
    assert chunk_count(wide, 512) == chunks


def test_chunks_keep_to_themselves():
    torch.manual_seed(0)
    project = ChunkProjector(1024, 8, dropout=0.0)
    x, here = torch.randn(3, 1024), torch.ones(3, 1)
    y = project(x, here)
    x[:, 512:] += 1.0
    changed = (project(x, here) - y).abs().amax(dim=0) > 1e-6
    assert changed.tolist() == [False] * 4 + [True] * 4


def test_a_chunk_is_what_its_equation_says():
    torch.manual_seed(0)
    project = ChunkProjector(1024, 8, dropout=0.0)
    x = torch.randn(3, 1024)
    parts = []
    for chunk in range(2):
        hidden = x[:, 512 * chunk : 512 * (chunk + 1)] @ project.widen.weight[chunk]
        hidden = nn.functional.layer_norm((hidden + project.widen.bias[chunk]).relu(), (16,))
        found = hidden @ project.narrow.weight[chunk] + project.narrow.bias[chunk]
        token = project.tokens[chunk].expand_as(found)
        gate = torch.sigmoid(torch.cat([found, token], dim=-1) @ project.gate.weight.T + 0.5)
        parts.append(gate * found + (1 - gate) * token)
    torch.testing.assert_close(project(x, torch.ones(3, 1)), torch.cat(parts, dim=-1) + 0.1)


def test_a_connector_weighs_its_heads():
    connector = build("ttfn_published").connect["audio"]
    audio, text = torch.randn(3, 24), torch.randn(3, 24)
    q, k, v = (
        layer(x).reshape(3, 2, 8)
        for layer, x in ((connector.query, audio), (connector.key, text), (connector.value, text))
    )
    weights = torch.einsum("bhd,bhd->bh", q, k).div(8**0.5).softmax(dim=1)
    read = connector.out(torch.cat([weights[:, :1] * v[:, 0], weights[:, 1:] * v[:, 1]], dim=-1))
    torch.testing.assert_close(connector(audio, text), connector.norm(read))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())
