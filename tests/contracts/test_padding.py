"""A clip's score does not depend on its padding: every encoder with every fusion.

A clip alone, in a batch with longer ones, cut to what is real, padded to the window, encoded once
and kept, and exported has the same score. A new encoder or fusion is covered by its line in the
registry.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
import torchaudio
from torch.nn import functional

from mmperson.config import HeadsConfig
from mmperson.datasets import Manifest
from mmperson.datasets.dataset import ClipDataset
from mmperson.exporting.graph import export_graph
from mmperson.exporting.wrapper import encoder_part, parts
from mmperson.inference.session import Session
from mmperson.models.heads import PerTraitHead
from mmperson.models.input_spec import input_spec, tokenizer_file
from mmperson.models.network import PersonalityNetwork
from mmperson.models.tokens import Tokens
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.schema import MODALITIES
from tests.fixtures.components import (
    COLUMNS,
    ENCODER_CASES,
    FUSION_CASES,
    TINY_WAVLM,
    encoder_case_name,
    fill_memories,
    small_recipe,
)
from tests.fixtures.media import write_clip

TOLERANCE = 1e-6
"""Of a score in fp32: another shape is summed in another order."""
HALF = 2.0**-11
"""Relative error of a feature that is kept in sixteen bits, eleven of which are significant."""
KEPT_TOLERANCE = 5e-4
"""Of a score of features that were kept: their error of 2^-11, passed on to a score of about .5."""
TALK = (
    "Speaker: I like the river and the garden, maybe.\nBob: You plan a lot, do you not?\n"
    "Speaker: I plan and I laugh; the house is calm and the stones are bright.",
    "Speaker: Maybe.",
    "Speaker: I like it.\nBob: You do.\nSpeaker: I plan.",
)
DURATIONS_S = (3.0, 1.1, 0.5)
ROWS = 4  # Three have everything; the fourth lacks the modality that is tested.
PARTNERS = {
    "text": {"name": "transformer", "max_tokens": 64},
    "audio": {"name": "log_mel", "window_s": 4.0, "mels": 16, "dim": 12},
}
each_fusion = pytest.mark.parametrize("fusion", FUSION_CASES)


@pytest.fixture(scope="module")
def small(tiny_text_weights, tiny_language_model):
    """``small_recipe`` with its folders; torchaudio has a tiny pipeline."""
    bundle = torchaudio.pipelines.Wav2Vec2Bundle("", TINY_WAVLM, 16_000, False, "WavLM")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchaudio.pipelines, "TINY_WAVLM", bundle, raising=False)
        yield partial(small_recipe, bert=tiny_text_weights, language_model=tiny_language_model)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [
        str(write_clip(folder / f"{i}.mp4", duration_s=seconds, size=(64, 64), noise=True))
        for i, seconds in enumerate(DURATIONS_S)
    ]


def prepare(recipe, clips, tested):
    """Build a network and its rows; the last row lacks the modality that is tested."""
    random = np.random.default_rng(0)
    columns = {name: random.normal(size=ROWS) for name in COLUMNS}
    columns[COLUMNS[1]][1] = np.nan
    descriptors = random.normal(size=(ROWS, 26)).astype(np.float32)
    if tested != "text":
        descriptors[-1] = np.nan
        for values in columns.values():
            values[-1] = np.nan
    manifest = Manifest(
        sample_id=np.array([f"clip{row}" for row in range(ROWS)]),
        source_id=np.array([f"source{row}" for row in range(ROWS)]),
        split=np.full(ROWS, "train"),
        fold=np.full(ROWS, -1),
        clip=(*clips, clips[0] if tested == "text" else None),
        transcript=(*TALK, "" if tested == "text" else TALK[2]),
        targets=random.uniform(0.2, 0.8, (ROWS, 5)),
        descriptors=descriptors,
        extras=columns,
    )
    spec = input_spec(recipe)
    torch.manual_seed(0)
    network = PersonalityNetwork(recipe, spec).eval()
    fill_memories(network)
    rows = ClipDataset.prepare(manifest, spec, load_tokenizer(tokenizer_file(recipe.text)))
    assert rows.present[:, MODALITIES.index(tested)].tolist() == [1, 1, 1, 0]
    return network, rows


def forms_of(rows):
    """Return the rows' batches by form: each row alone, or all together."""
    alone = [rows.batch(np.array([row])) for row in range(ROWS)]
    return {
        "alone": alone,
        "together": [rows.batch(np.arange(ROWS))],
        "trimmed": [trim(batch) for batch in alone],
        "padded": [pad(batch, rows.spec) for batch in alone],
    }


def trim(batch):
    """Cut padding off what is there."""
    cut = dict(batch)
    for index, name in enumerate(MODALITIES):
        if f"{name}_mask" in batch and batch["present"][0, index]:
            mask = batch[f"{name}_mask"]
            real = int(mask.flatten(0, -2).any(dim=0).nonzero().max()) + 1
            for key in (name, f"{name}_mask"):
                cut[key] = batch[key].narrow(mask.ndim - 1, 0, real)
    return cut


def pad(batch, spec):
    """Pad text to the most that is read; collating has padded the rest to its window."""
    if "text" not in batch:
        return batch
    size = [0, spec.text.max_tokens - batch["text"].shape[-1]]
    return batch | {key: functional.pad(batch[key], size) for key in ("text", "text_mask")}


def encode(network, forms):
    """Return tokens and presence by form, a pair for each batch."""
    with torch.inference_mode():
        return {
            form: [(network.encode(batch), batch["present"]) for batch in batches]
            for form, batches in forms.items()
        }


@dataclass(frozen=True)
class Encoded:
    """A network of the tested encoder and a partner; tokens and presence by form."""

    tested: str
    network: PersonalityNetwork
    rows: ClipDataset
    fresh: dict
    kept: dict


@pytest.fixture(scope="module", params=ENCODER_CASES, ids=encoder_case_name)
def encoded(request, small, clips):
    modality, section = request.param
    partner = "text" if modality != "text" else "audio"
    recipe = small({modality: section, partner: PARTNERS[partner]})
    network, rows = prepare(recipe, clips, modality)
    kept = rows
    for name in network.encoders:
        kept = kept.with_features(name, partial(network.features, name))
    fresh = encode(network, forms_of(rows))
    return Encoded(modality, network, rows, fresh, encode(network, forms_of(kept)))


def build_scorer(fusion, encoders):
    """Build a fusion with a linear head: tokens and presence to scores, float (row, target)."""
    torch.manual_seed(0)
    recipe = small_recipe({"audio": {}, "fusion": {"name": fusion.split(",")[0]}}, None, None)
    dims = {name: encoder.dim for name, encoder in encoders.items()}
    module = FUSION_CASES[fusion](recipe.fusion, dims, 5).eval()
    fill_memories(module)
    head = PerTraitHead(HeadsConfig(name="per_trait", hidden=0), module.dim, 5)

    def score(tokens, present):
        with torch.inference_mode():
            return head(module(tokens, present).vectors)

    return score


# In the quick tests, every encoder meets the fusion that reads single tokens and one that pools.
@pytest.mark.parametrize(
    "fusion",
    [
        pytest.param(name, marks=() if name in ("ttfn", "late") else pytest.mark.slow)
        for name in FUSION_CASES
    ],
)
def test_padding_changes_no_score(encoded, fusion):
    score = build_scorer(fusion, encoded.network.encoders)
    fresh, kept = (
        {form: torch.cat([score(*given) for given in pairs]) for form, pairs in forms.items()}
        for forms in (encoded.fresh, encoded.kept)
    )
    for scores in (fresh, kept):
        for form, found in scores.items():
            assert (found - scores["alone"]).abs().max() <= TOLERANCE, form
    assert (kept["alone"] - fresh["alone"]).abs().max() <= KEPT_TOLERANCE
    assert fresh["alone"].std(dim=0).max() > 1e-4, "it says the same of every clip"


def test_kept_features_are_those_of_the_clip_alone(encoded):
    network, rows = encoded.network, encoded.rows
    kept = rows.with_features(encoded.tested, partial(network.features, encoded.tested))
    for row, found in enumerate(kept.features[encoded.tested]):
        values, mask = network.features(encoded.tested, rows.batch(np.array([row])))
        assert mask[0].sum() == len(found)
        torch.testing.assert_close(found.float(), values[0, : len(found)], rtol=HALF, atol=1e-5)


@pytest.mark.slow
def test_an_exported_encoder_changes_no_score(encoded):
    network, rows, name = encoded.network, encoded.rows, encoded.tested
    part = encoder_part(name, network.encoders[name], rows.batch(np.arange(2)))
    session = open_graph(f"encoder_{name}", part, rows.spec)
    scorers = [build_scorer(fusion, network.encoders) for fusion in FUSION_CASES]
    batches = forms_of(rows)
    for form in ("alone", "together", "padded"):
        for batch, (tokens, present) in zip(batches[form], encoded.fresh[form], strict=True):
            said = run(session, batch)
            given = tokens | {name: Tokens(said[f"{name}_tokens"], said[f"{name}_tokens_mask"])}
            for score in scorers:
                difference = (score(given, present) - score(tokens, present)).abs().max()
                assert difference <= TOLERANCE, form


@pytest.mark.slow
@each_fusion
def test_an_exported_fusion_changes_no_score(small, clips, fusion):
    name, _, taught = fusion.partition(",")
    sections = {**PARTNERS, "fusion": {"name": name}}
    if taught:
        sections["audio"] = {"name": "descriptors", "dim": 8}
        sections |= {"teacher": {}, "loss": {"soft_weight": 1.0}}
    network, rows = prepare(small(sections), clips, "text")
    session = open_graph("fusion", parts(network, rows.spec)["fusion"], rows.spec)
    found = {}
    for form, pairs in encode(network, forms_of(rows)).items():
        if form == "trimmed":
            continue  # A graph reads the whole window of a sound.
        scores = []
        for tokens, present in pairs:
            fed = {"present": present}
            for key, (values, mask) in tokens.items():
                fed |= {f"{key}_tokens": values, f"{key}_tokens_mask": mask}
            scores.append(run(session, fed)["scores"])
            with torch.inference_mode():
                expected = network.fuse(tokens, present)
            assert (scores[-1] - expected).abs().max() <= TOLERANCE, form
        found[form] = torch.cat(scores)
        assert (found[form] - found["alone"]).abs().max() <= TOLERANCE, form


def open_graph(name, part, spec):
    """Export a part and open its graph."""
    graph = export_graph(part, {"mmperson.spec_hash": spec.hash})
    assert not {node.op_type for node in graph.graph.node} & {"If", "Loop", "Scan"}
    return Session(graph.SerializeToString(), name, spec.hash, threads=1)


def run(session, batch):
    """Run a graph on tensors."""
    said = session.run({name: tensor.numpy() for name, tensor in batch.items()})
    return {name: torch.from_numpy(value.numpy()) for name, value in said.items()}
