"""The scripts of benchmarks/: what they draw, and that those run that are measured elsewhere."""

import json
from argparse import Namespace
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto
from timm.layers.attention import Attention as ImageAttention
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from benchmarks import (
    against_peers,
    engines,
    gpu,
    gpu_decoding,
    gpu_systems,
    moving_clip,
    scaling,
    separate_attention,
    speed_tables,
    text_systems,
    throughput,
    training_speed,
)
from mmperson.config import FramesConfig, load_recipe
from mmperson.errors import UsageError
from mmperson.exporting.graph import HALF_OPSET, export_graph
from mmperson.exporting.wrapper import EncoderGraph, Part, encoder_part
from mmperson.inference.bundle import open_bundle
from mmperson.media import find_transcript, probe_clip, read_clip
from mmperson.models.encoders import text
from mmperson.models.encoders.frames import FramesEncoder
from mmperson.models.encoders.text import text_weights_folder
from mmperson.models.fusion.ttfn import Attention
from mmperson.models.tokens import MASKED
from mmperson.preprocessing import FrameSpec
from tests.conftest import make_corpus


def test_rows_have_words_and_fewer_rows_are_some_of_them():
    manifest = make_corpus()
    split = np.where(manifest.split == "train", "train", "test")
    manifest = replace(manifest, split=split)
    many, few = (text_systems.draw_rows(manifest, *counts) for counts in ((20, 8), (5, 2)))
    assert [int((many.split == name).sum()) for name in ("train", "test")] == [20, 8]
    assert all(text.strip() for text in text_systems.draw_rows(manifest, 99, 99).transcript)
    assert set(few.sample_id) < set(many.sample_id)
    assert many.sample_id.tolist() == sorted(many.sample_id.tolist())


def test_every_system_is_a_recipe_that_reads_words_alone(project_root):
    for system in text_systems.SYSTEMS.values():
        path = project_root / "configs" / f"{system.recipe}.yaml"
        assert load_recipe(path, system.changes).modalities == ("text",)


@pytest.mark.slow
def test_training_speed_is_measured_on_a_cpu(tmp_path, project_root):
    changes = {"optim.epochs": "2", "optim.batch_size": "2", "video.frames": "2"}
    changes |= {"video.size": "32", "run.threads": "1"}
    clip = project_root / "docs" / "demo" / "demo.mp4"
    found = training_speed.measure(changes, clip, 2, tmp_path)
    whole, kept = found["end to end"], found["kept image features"]
    # The image network's own work is saved; the other encoders' and the fusion's stays.
    assert 0 < kept["operations_per_clip"] < whole["operations_per_clip"]
    assert whole["operations_per_s"] == pytest.approx(
        whole["operations_per_clip"] * whole["clips_per_s"]
    )
    assert whole["share_of_bf16_peak"] is None  # There is no such figure for a CPU.
    assert found["projected_s"]["decoding in one process"] > 0


def test_every_clip_of_throughput_has_words(demo, tmp_path):
    silent = tmp_path / "silent.mp4"
    silent.write_bytes(demo.read_bytes())
    folder = tmp_path / "linked"
    folder.mkdir()
    linked = throughput.with_words([str(demo), str(silent)], folder)
    assert [find_transcript(clip) is not None for clip in linked] == [True, True]


def test_a_moving_clip_is_drawn_as_asked_and_always_the_same(tmp_path):
    one, other = (
        moving_clip.write_moving_clip(tmp_path / name, 0.6, 160, 90) for name in ("a.mp4", "b.mp4")
    )
    assert one.read_bytes() == other.read_bytes()
    info = probe_clip(one)
    assert (info.video.width, info.video.height) == (160, 90)
    assert info.duration_s == pytest.approx(0.6, abs=0.1)
    assert info.audio is not None
    assert find_transcript(one) is not None


def test_lines_are_fitted_with_their_share_of_the_spread():
    exact = scaling.line([1, 2, 4], [3.0, 5.0, 9.0])
    assert exact == pytest.approx({"slope": 2.0, "intercept": 1.0, "r2": 1.0})
    assert 0 < scaling.line([1, 2, 3], [1.0, 3.0, 2.0])["r2"] < 0.5
    assert scaling.line([1, 2], [1.0, 3.0])["r2"] is None


@pytest.mark.slow
def test_scaling_and_its_floor_are_measured(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "SIZES", ((64, 36), (96, 54), (128, 72)))
    monkeypatch.setattr(scaling, "LENGTHS_S", (0.5, 1.0, 1.5))
    monkeypatch.setattr(scaling, "LENGTHS_SIZE", (64, 36))
    monkeypatch.setattr(scaling, "SECONDS", 1.0)
    monkeypatch.setattr(scaling, "BATCHES", (1, 2))
    monkeypatch.setattr(scaling, "PROFILES", ("exact",))
    bundle = open_bundle(tiny_bundle)
    found = scaling.scaling(bundle, tmp_path, repeats=1, seconds=0.05)
    assert len(found["pixels"]["cpu_s"]) == len(found["length"]["cpu_s"]) == 3
    assert found["batch"]["fit_s_per_clip"]["slope"] != 0
    goals = scaling.goals(bundle, bundle, bundle, scaling.clip_of(tmp_path, 1.0, 64, 36), repeats=1)
    row = goals["three modalities, exact"]
    assert set(row["floor_parts_cpu_s"]) == {
        "decode", "encoder_audio", "encoder_text", "fusion"
    }  # fmt: skip
    assert row["whole_over_floor"] > 0.5
    assert row["cpu_s"] > 0


def peer_line(**changes):
    figures = {name: 1.0 for name in against_peers.MEASURED}
    return json.dumps({**figures, "scores": [0.5] * 5, **changes})


def test_the_figures_of_a_peer_are_read_behind_what_it_prints_itself():
    found = against_peers.parse(f"Loading ...\n\n{peer_line(frames=75)}\n")
    assert found == {**{name: 1.0 for name in against_peers.MEASURED}, "frames": 75}


@pytest.mark.parametrize(
    "output", ["", "Killed", "[]", "{}", peer_line(scores=[None] * 5), peer_line(scores=[0.5])]
)
def test_a_peer_that_did_not_score_the_clip_has_no_figures(output):
    with pytest.raises(ValueError, match="Not "):
        against_peers.parse(output)


def test_the_table_of_peers_has_medians_and_ratios():
    cpu_s = {"mmperson, text and audio": (1, 1, 2), "oceanai": (24, 30, 18)}
    cpu_s |= {"mmperson, 75 frames": (6, 6, 6), "deep_personality": (11, 11, 11)}
    cpu_s |= {"mmperson, 100 frames": (22, 22, 22)}
    rows = [
        {"system": name, **{key: 1 for key in against_peers.MEASURED}, "clip_cpu_s": seconds}
        for name, rounds in cpu_s.items()
        for seconds in rounds
    ]
    facts = {"rounds": 3, "load": 0.1, "hardware": "h", "file": "f", "command": "c"}
    result = {"systems": against_peers.summarise(rows), **facts}
    lines = against_peers.table(result).splitlines()
    assert lines[3] == "| oceanai | 1 | 24.00 | 18.00-30.00 | 1.0, 1.0 | 1 | 24.0x | 4.0x |"
    assert lines[5].endswith("| 11.0x | 0.5x |")
    assert "is not met" in lines[-1]


def test_engines_are_measured(tiny_bundle, monkeypatch):
    monkeypatch.setattr(engines, "ENOUGH_S", 0.0)
    monkeypatch.setattr(engines, "available", lambda: ["cpu"])
    rows = engines.measure_network("tiny", {"int8": open_bundle(tiny_bundle)})
    assert [(row["graph"], row["precision"]) for row in rows] == [
        ("encoder_audio", "fp32"),
        ("encoder_text", "int8"),
        ("fusion", "fp32"),
    ]
    assert all(row["cpu_ms_batch_1"] >= 0 and row["change_of_scores"] == 0 for row in rows)
    facts = {"hardware": "h", "versions": {"onnxruntime": "1"}, "load_average": 0.5}
    told = engines.table({"rows": rows, "file": "f.json", "command": "c", **facts})
    assert told.count("| tiny |") == 3
    assert "`results/f.json`" in told


def test_the_page_shows_the_newest_measurement_of_engines(project_root):
    page = (project_root / "benchmarks" / "README.md").read_text(encoding="utf-8")
    shown = page.split("<!-- engines -->\n")[1].split("\n<!-- end engines -->")[0]
    assert shown == engines.table(engines.newest_result("engines"))


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tiny_text_weights, capsys, monkeypatch):
    changes = {**gpu.TINY, "video.backbone": "test_vit", "text.weights": str(tiny_text_weights)}
    changes |= {"text.layers": "[0, 2]"}
    monkeypatch.setattr(text, "load_backbone", lambda *_, **__: pytest.fail("loads weights"))
    setting = gpu.Setting("cpu", sizes=(1, 2), tokens=8, repeats=1, product=32)
    found = gpu.measure(setting, changes)
    # Sizes times systems: the sound has no attention to be written otherwise.
    assert len(found["rows"]) == 2 * (4 + 3 + 4 + 4)
    assert not [row for row in found["rows"] if "refused" in row]
    assert {row["graph"] for row in found["rows"]} == {
        "encoder_video", "encoder_audio", "encoder_text", "fusion"
    }  # fmt: skip
    for row in found["rows"]:
        assert row["clips_per_s"] > 0
        assert row["relative_error"] < (1e-4 if row["system"] == "onnxruntime fp32" else 0.05)
    assert [row["clips"] for row in found["together"]] == [1, 2]
    for row in found["together"]:  # the sound has no attention of its own to be written otherwise
        assert {"torch eager bf16", "onnxruntime fp32", "onnxruntime fp16"} < set(
            row["clips_per_s"]
        )
        assert min(row["clips_per_s"].values()) > 0


@pytest.fixture(scope="module")
def pictures():
    """The graph of a small vision transformer over two frames, and its fp32 module."""
    config = FramesConfig(backbone="test_vit", frames=2, size=32, dim=16)
    spec = FrameSpec(count=2, short_side=32, height=32, width=32)
    torch.manual_seed(0)
    encoder = FramesEncoder(config, spec, pretrained=False).eval()
    example = {
        "video": torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8), "video_mask": torch.ones(2, 2)
    }  # fmt: skip
    return encoder_part("video", encoder, example)


def test_pictures_are_drawn_apart_and_each_is_shown_once(pictures):
    drawn = gpu.draw(pictures, 3, 8)
    assert list(drawn) == ["video", "video_shown", "video_mask"]
    assert drawn["video"].shape == (3, 2, 3, 32, 32)  # clip, picture, colour, row, column
    assert drawn["video"].dtype == np.uint8
    assert (drawn["video"][:, 0] != drawn["video"][:, 1]).any()
    assert drawn["video_shown"].tolist() == [[0, 1]] * 3
    assert drawn["video_mask"].tolist() == [[1, 1]] * 3


def test_operations_of_attention_are_counted(pictures):
    inputs = gpu.draw(pictures, 1, 8)
    counted = gpu_systems.operations(pictures, inputs)
    written_out = deepcopy(pictures.module)
    heads = [m for m in written_out.modules() if isinstance(m, ImageAttention)]
    for attention in heads:
        assert attention.fused_attn
        attention.fused_attn = False
    assert counted == gpu_systems.operations(replace(pictures, module=written_out), inputs)
    with FlopCounterMode(display=False) as counter:
        pictures.module(*map(torch.from_numpy, inputs.values()))
    tokens, width = 1 + (32 // 16) ** 2, heads[0].attn_dim
    # Two frames, two products each of every token with every other, an addition per product.
    assert counted - counter.get_total_flops() == len(heads) * 2 * 2 * 2 * tokens**2 * width


def test_torch_runs_at_its_best_and_says_the_same(tiny_text_weights):
    torch.manual_seed(0)
    words = AutoModel.from_pretrained(tiny_text_weights, attn_implementation="eager").eval()
    both = nn.ModuleDict({"words": words, "tokens": nn.ModuleList([Attention(8, 2)])}).eval()
    fused = gpu_systems.fuse_attention(both)
    assert fused["words"].config._attn_implementation == "sdpa"
    assert words.config._attn_implementation == "eager"
    assert type(both["tokens"][0]) is Attention
    ids, real = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1.0] * 3, [1, 1, 0]])
    bias = (1 - real[:, None]) * MASKED
    asking, answering = torch.randn(2, 4, 8), torch.randn(2, 3, 8)
    said = []
    with torch.inference_mode():
        for ways in (both, fused):
            said.append(
                (
                    ways["words"](ids, attention_mask=bias[:, None]).last_hidden_state,
                    ways["tokens"][0](asking, answering, bias),
                )
            )
    torch.testing.assert_close(*said)


def test_a_result_says_which_onnxruntime_ran():
    given = Namespace(device="cpu", note="pruned", commit="abc1234")
    facts = gpu.gpu_facts(given, ("torch",), 1)
    assert facts["note"] == "pruned"
    assert facts["onnxruntime"]["version"] == ort.__version__ == facts["versions"]["onnxruntime"]
    assert "ORT Build Info" in facts["onnxruntime"]["build"]
    assert facts["commit"] != "abc1234"  # this source is under git, which knows better


def test_words_drawn_at_random_have_the_sizes_of_minilm(tmp_path):
    config = AutoConfig.from_pretrained(text_weights_folder("minilm")).to_dict()
    drawn = gpu_systems.random_words(tmp_path / "words")
    assert text_weights_folder(str(drawn)) == drawn
    told = AutoConfig.from_pretrained(drawn).to_dict()
    for name in ("model_type", "num_attention_heads", "vocab_size", "max_position_embeddings",
                 *gpu_systems.MINILM):  # fmt: skip
        assert told[name] == config[name]


def test_cuda_is_started_as_the_product_starts_it(monkeypatch):
    asked = []

    def start(graph, provider, threads, more):
        asked.append((provider, dict(more)))
        raise UsageError("no GPU")

    monkeypatch.setattr(gpu_systems, "start", start)
    for captured in (False, True):
        with pytest.raises(UsageError, match="no GPU"):
            gpu_systems.on_onnxruntime(ModelProto(), {}, {}, "cuda", captured=captured)
    assert asked == [("cuda", {}), ("cuda", {"enable_cuda_graph": "1"})]


def test_all_graphs_together_are_judged_by_the_slowest_clock():
    rows = [
        {"graph": graph, "clips": 8, "system": system, "ms": ms}
        for graph, system, ms in (
            ("a", "torch.compile bf16", 3.0),
            ("a", "onnxruntime fp16", 4.0),
            ("a", "onnxruntime fp16, CUDA graph", 2.0),
            ("b", "torch.compile bf16", 1.0),
            ("b", "onnxruntime fp16", 3.0),
        )
    ]
    rows.append({"graph": "b", "clips": 8, "system": "onnxruntime fp16, x", "refused": "no"})
    (row,) = gpu.together(rows, [8])
    assert row["clips_per_s"] == {
        "onnxruntime fp16": pytest.approx(8 / 7e-3),
        "onnxruntime fp16, the best of each graph": pytest.approx(8 / 5e-3),
        "torch.compile bf16": pytest.approx(8 / 4e-3),
    }
    assert row["ratio"] == pytest.approx(0.8)
    assert row["goal_met"] is False
    rows.append({"graph": "c", "clips": 8, "system": "onnxruntime fp16", "refused": "no"})
    assert gpu.together(rows, [8]) == [{"clips": 8, "clips_per_s": {}}]


@pytest.mark.slow
def test_separate_attention_says_the_same_without_a_transposition():
    config = FramesConfig(backbone="vit_tiny_patch16_224", frames=2, size=32, dim=16)
    spec = FrameSpec(count=2, short_side=32, height=32, width=32)
    torch.manual_seed(0)
    encoder = FramesEncoder(config, spec, pretrained=False).eval()
    frames = torch.randint(0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8)
    mask = torch.ones(1, 2)
    copy = separate_attention.separate(encoder)
    with torch.inference_mode():
        expected, said = encoder(frames, mask).values, copy(frames, mask).values
    torch.testing.assert_close(said, expected, atol=1e-5, rtol=1e-5)
    assert any("qkv" in name for name, _ in encoder.named_parameters())
    assert not any("qkv" in name for name, _ in copy.named_parameters())
    assert separate_attention.separate(nn.Linear(2, 2)) is None
    axes = {"video": {0: "batch"}, "video_mask": {0: "batch"}}
    inputs = {"video": frames.repeat(2, 1, 1, 1, 1), "video_mask": mask.repeat(2, 1)}
    outputs = ("video_tokens", "video_tokens_mask")
    part = Part(EncoderGraph(copy), inputs, axes, outputs)
    kinds = [node.op_type for node in export_graph(part, {}, HALF_OPSET).graph.node]
    assert kinds.count("Attention") == 13  # twelve blocks, and the frames among each other
    assert kinds.count("Transpose") <= 1  # of the patches


def test_the_gpu_benchmark_wants_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="sees no GPU"):
        gpu.require("cuda")
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match="has no provider 'cuda'"):
        gpu.require("cuda")


def test_speed_stands_beside_what_was_aimed_at():
    rows = speed_tables.cost_rows(
        {
            name: {"cpu_s": 0.2, "whole_over_floor": 1.2, "peak_rss_mb": 599.0}
            for name in speed_tables.GOALS
        }
    )
    assert [met for *_, met in rows][:4] == [False, True, True, True]
    shown = speed_tables.table(rows, "a clip")
    assert shown.count("| met |") == 12
    assert "random weights | 599 MB | 600 MB | met |" in shown
    assert "CPU time | 0.200 s | 0.15 s | missed |" in shown


def test_the_readme_shows_the_newest_speed(project_root):
    text = (project_root / "README.md").read_text(encoding="utf-8")
    found = [speed_tables.newest_result(kind) for kind in ("throughput", "scaling")]
    if all(found):
        assert speed_tables.page(*found) in text


def test_separate_attention_keeps_to_the_masks_of_words_and_of_tokens():
    torch.manual_seed(0)
    words = BertModel(
        BertConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=8, attn_implementation="eager",
        )
    ).eval()  # fmt: skip
    ids, real = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([[1] * 4, [1, 1, 0, 0]])
    tokens = nn.ModuleDict({"of": Attention(8, 2)}).eval()
    asking, answering = torch.randn(2, 3, 8), torch.randn(2, 4, 8)
    bias = (1 - real.float()).unsqueeze(1) * MASKED
    with torch.inference_mode():
        expected = words(ids, attention_mask=real).last_hidden_state
        said = separate_attention.separate(words)(ids, attention_mask=real).last_hidden_state
        torch.testing.assert_close(said, expected)
        expected = tokens["of"](asking, answering, bias)
        said = separate_attention.separate(tokens)["of"](asking, answering, bias)
        torch.testing.assert_close(said, expected)
        unmasked = separate_attention.separate(tokens)["of"](asking, answering, 0 * bias)
    assert (unmasked - said).abs().max() > 1e-3


def test_attention_that_does_more_is_left_alone():
    normed = nn.ModuleList([ImageAttention(8, 2, qk_norm=True, norm_layer=nn.LayerNorm)])
    assert separate_attention.separate(normed) is None
    assert separate_attention.separate(nn.ModuleList([ImageAttention(8, 2, gated=True)])) is None


def test_frames_for_a_gpu_are_those_that_are_read(tmp_path):
    clip = moving_clip.write_moving_clip(tmp_path / "clip.mp4", 2.0, 160, 96)
    ticks = gpu_decoding.chosen_ticks(clip, 5)
    decoder = gpu_decoding.Decoder(None)
    first, frames = decoder.read(clip, ticks), decoder.read(clip, ticks)
    assert torch.equal(first, frames)  # nothing of a clip is left in the decoder
    expected = read_clip(clip, frames=5).frames.transpose(0, 3, 1, 2).astype(int)
    assert frames.shape == (5, 3, 96, 160)
    error = np.abs(frames.numpy().astype(int) - expected)
    assert error.mean() < 3  # colours are spread over two pixels in another way
    for index in range(5):  # and no other frame is as near
        others = np.abs(frames[index].numpy().astype(int) - expected).mean(axis=(1, 2, 3))
        assert others.argmin() == index


def test_a_decoder_is_opened_once_for_clips_that_are_coded_alike(tmp_path, monkeypatch):
    clips = [
        moving_clip.write_moving_clip(tmp_path / f"{seed}.mp4", 0.4, *size, seed)
        for seed, size in enumerate([(64, 36), (64, 36), (96, 54)])
    ]
    opened = []
    create = gpu_decoding.av.CodecContext.create

    def counted(*arguments, **options):
        opened.append(arguments)
        return create(*arguments, **options)

    monkeypatch.setattr(gpu_decoding.av, "CodecContext", SimpleNamespace(create=counted))
    decoder = gpu_decoding.Decoder(None)
    read = [decoder.read(clip, gpu_decoding.chosen_ticks(clip, 2)) for clip in clips]
    assert len(opened) == 2
    assert read[2].shape == (2, 3, 54, 96)
    assert not torch.equal(read[0], read[1])


def test_streams_side_by_side_are_summed(tmp_path):
    clip = moving_clip.write_moving_clip(tmp_path / "clip.mp4", 0.4, 64, 36)
    row = gpu_decoding.by_streams(clip, 2, 0.05, None)
    assert row["streams"] == 2
    assert row["clips_per_s"] > 0


@pytest.mark.slow
def test_nothing_is_decoded_in_software_in_the_place_of_a_gpu(tmp_path, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    clip = moving_clip.write_moving_clip(tmp_path / "clip.mp4", 1.0, 64, 36)
    rows = gpu_decoding.measure(clip, tmp_path, "cpu", 0.01)
    found = {row["way"]: row for row in rows}
    for streams in gpu_decoding.STREAMS:
        row = found[f"NVDEC, {streams} threads"]
        assert "clips_per_s" not in row
        assert row["refused"]
        assert "BrokenBarrier" not in row["refused"]  # but what broke it
    assert "BundleNotFound" in found["scored, key"]["refused"]
    for profile in gpu_decoding.PROFILES:
        assert found[f"processors, {profile}"]["clips_per_s"] > 0
