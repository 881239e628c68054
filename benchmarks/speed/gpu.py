"""How fast encoders and fusion run on a GPU, in ONNX Runtime and in torch.

    python -m benchmarks run gpu -- --device cuda
    python -m benchmarks run gpu -- --device cpu --tiny --scratch DIR    # that it runs

The networks are those of ``configs/three_modalities.yaml`` with a ViT-S/16 on 16 frames, each seen
as a scene and as a face, exported at opset 23, where attention is one operator; weights are random,
so that nothing need be downloaded. Graphs run alone on inputs that lie on the device, in batches of
1, 8 and 32 clips: torch eager and compiled under bf16 autocast with its own kernel of attention,
ONNX Runtime in fp32 and fp16 with bound inputs and outputs, in fp16 with attention as
``separate_attention.py`` writes it, and both as CUDA graphs. A time is the median of repeats, after
a warm-up. Beside it: how far the outputs are from those of torch in fp32, relative to the largest
of them, and the share of the roofline, which is the measured rate of a large bf16 product of random
matrices over the operations of a clip. What cannot be run is named with its reason. *Together* are
the clips per second of all graphs, one after the other, with the fastest fp16 system per graph
beside torch.compile: at least as many are aimed at. ``docs/measure-on-a-gpu.md`` says how to run it
on a machine without network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from benchmarks.harness import ROOT
from benchmarks.speed.gpu_systems import (
    Device,
    Run,
    median_ms,
    on_onnxruntime,
    on_torch,
    operations,
    product_rate,
    random_text_weights,
    relative_error,
    runtime_build,
)
from benchmarks.speed.separate_attention import separate
from mmperson.config import load_recipe
from mmperson.errors import UsageError
from mmperson.exporting.graph import HALF_OPSET, export_graph
from mmperson.exporting.quantize import to_fp16
from mmperson.exporting.wrapper import Part, parts
from mmperson.inference.providers import check_provider
from mmperson.models.input_spec import input_spec
from mmperson.models.network import PersonalityNetwork
from mmperson.preprocessing.collate import VIDEO_SHOWN

PACKAGES = ("torch", "timm", "transformers", "onnx", "onnxruntime", "onnxruntime-gpu")
NETWORK = {"video.backbone": "vit_small_patch16_224", "video.frames": "16", "video.size": "224"}
TINY = {"video.backbone": "vit_tiny_patch16_224", "video.frames": "2", "video.size": "32"}
TINY |= {"audio.window_s": "1.0"}


@dataclass(frozen=True)
class Setting:
    """Device, batch sizes, tokens of a transcript, repeats, and side of the matrix product."""

    device: Device
    sizes: tuple[int, ...] = (1, 8, 32)
    tokens: int = 128
    repeats: int = 20
    product: int = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks; with --scratch")
    parser.add_argument("--sizes", type=int, nargs="+", help="clips per batch; 1 8 32")
    parser.set_defaults(threads=torch.get_num_threads())


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure every graph by every system."""
    require(given.device)
    setting, changes = Setting(given.device), NETWORK
    if given.tiny:
        if given.scratch is None:
            raise UsageError("Figures of --tiny mean nothing.", hint="Give --scratch FOLDER.")
        setting, changes = Setting(given.device, (1, 2), tokens=8, repeats=2, product=256), TINY
    if given.sizes:
        setting = replace(setting, sizes=tuple(given.sizes))
    weights = random_text_weights(folder / "text")
    found = measure_graphs(setting, {**changes, "text.weights": str(weights)})
    return {"gpu": {**describe_device(given.device), **found}}


def smoke(folder: Path) -> None:
    from benchmarks.speed.gpu_checks import check_gpu

    check_gpu(folder)


def describe_device(device: Device) -> dict[str, Any]:
    """Return the device's name and the build of ONNX Runtime."""
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {"device": name, "onnxruntime": runtime_build()}


def require(device: Device) -> None:
    """Refuse a GPU that is not there.

    Raises:
        UsageError: torch sees none, or ONNX Runtime has no provider for it.
    """
    if device == "cuda":
        if not torch.cuda.is_available():
            raise UsageError(
                f"torch {torch.__version__} sees no GPU.",
                hint="Run this on a machine with one, or give --device cpu --tiny --scratch DIR.",
            )
        check_provider("cuda")


def measure_graphs(setting: Setting, changes: dict[str, str]) -> dict[str, Any]:
    """Measure every graph of the network by every system."""
    recipe = load_recipe(ROOT / "configs" / "three_modalities.yaml", changes)
    torch.backends.cudnn.allow_tf32 = False  # what all are compared with is in fp32
    torch.manual_seed(0)
    spec = input_spec(recipe)
    network = PersonalityNetwork(recipe, spec, pretrained=False).eval()
    peak = product_rate(setting.product, setting.repeats, setting.device)
    print(f"A product of {setting.product}: {peak / 1e12:.1f} TFLOP/s.", flush=True)
    rows = []
    for name, part in parts(network, spec).items():
        graph = export_graph(part, {}, HALF_OPSET)
        graphs = {"fp32": graph, "fp16": to_fp16(graph)}
        if (module := separate(part.module)) is not None:
            separated = export_graph(replace(part, module=module), {}, HALF_OPSET)
            graphs["fp16, separate attention"] = to_fp16(separated)
        work = operations(part, draw(part, 1, setting.tokens))
        part.module.to(setting.device)
        for size in setting.sizes:
            inputs = draw(part, size, setting.tokens)
            expected = on_torch(part, inputs, setting.device)()
            for system, prepare in systems(part, graphs, inputs, expected, setting.device).items():
                row = {"graph": name, "clips": size, "system": system}
                row |= time_system(prepare, expected, setting.repeats)
                if "ms" in row:
                    row["clips_per_s"] = 1e3 * size / row["ms"]
                    row["share_of_roofline"] = row["clips_per_s"] * work / peak
                rows.append(row)
                print(row, flush=True)
                if setting.device == "cuda":
                    torch.cuda.empty_cache()  # the next system has the whole memory
        part.module.to("cpu")
    encoders = {name: getattr(recipe, name).model_dump(mode="json") for name in recipe.modalities}
    facts = {"opset": HALF_OPSET, "encoders": encoders, "product_flop_per_s": peak}
    return facts | {"together": sum_graphs(rows, setting.sizes), "rows": rows}


def time_system(
    prepare: Callable[[], Run], expected: Mapping[str, Tensor], repeats: int
) -> dict[str, Any]:
    """Return how far a system is from what is expected and how long it takes, or why it cannot.

    Nothing of it is left when this returns: two systems at once may not fit on a device.
    """
    try:
        run = prepare()
        # At once: a captured graph writes its next outputs over these.
        error = relative_error(run(), expected)
        return {"relative_error": error, "ms": median_ms(run, repeats)}
    except Exception as error:  # what fails is a finding, and the rest goes on
        reason = (str(error).splitlines() or [""])[0][:300]
        return {"refused": f"{type(error).__name__}: {reason}"}


def sum_graphs(rows: list[dict[str, Any]], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Say how many clips per second all graphs score, by each system and by the best of fp16.

    There is no figure for a system that cannot run every graph, and no ratio without both sides.
    """
    found = []
    for size in sizes:
        times: dict[str, dict[str, float]] = {}
        for row in rows:
            if row["clips"] == size:
                of = times.setdefault(row["graph"], {})
                if "refused" not in row:
                    of[row["system"]] = row["ms"]
        able = set.intersection(*map(set, times.values()))
        per_s = {name: 1e3 * size / sum(of[name] for of in times.values()) for name in able}
        half = [[ms for name, ms in of.items() if " fp16" in name] for of in times.values()]
        if all(half):
            per_s["onnxruntime fp16, the best of each graph"] = 1e3 * size / sum(map(min, half))
        row = {"clips": size, "clips_per_s": dict(sorted(per_s.items()))}
        if all(half) and "torch.compile bf16" in able:
            best = per_s["onnxruntime fp16, the best of each graph"]
            row["ratio"] = best / per_s["torch.compile bf16"]
            row["goal_met"] = row["ratio"] >= 1
        found.append(row)
    return found


def systems(
    part: Part,
    graphs: Mapping[str, onnx.ModelProto],
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, Tensor],
    device: Device,
) -> dict[str, Callable[[], Run]]:
    """Return what is compared: how to prepare each, which gives a function that runs it."""
    found: dict[str, Callable[[], Run]] = {
        "torch eager bf16": lambda: on_torch(part, inputs, device, bf16=True),
    }
    for kind, graph in graphs.items():
        found[f"onnxruntime {kind}"] = partial(on_onnxruntime, graph, inputs, expected, device)
    if device == "cuda":
        found["torch.compile bf16"] = lambda: on_torch(
            part, inputs, device, bf16=True, compiled=True
        )
        for kind, graph in graphs.items():
            if kind != "fp32":
                found[f"onnxruntime {kind}, CUDA graph"] = partial(
                    on_onnxruntime, graph, inputs, expected, device, captured=True
                )
    return found


def draw(part: Part, size: int, tokens: int) -> dict[str, np.ndarray]:
    """Draw inputs of a graph at random; all is present, masks hide nothing, no frame repeats."""
    random = np.random.default_rng(0)
    found = {}
    lengths = {"batch": size, "token": tokens}
    if VIDEO_SHOWN in part.inputs:
        lengths["picture"] = part.inputs[VIDEO_SHOWN].shape[1]
    for name, example in part.inputs.items():
        axes = part.dynamic[name]
        shape = [lengths[axes[i]] if i in axes else n for i, n in enumerate(example.shape)]
        array = example.numpy()
        if name == "present" or name.endswith("_mask"):
            found[name] = np.ones(shape, array.dtype)
        elif name == VIDEO_SHOWN:
            found[name] = np.tile(np.arange(shape[1]), (size, 1))
        elif array.dtype == np.float32:
            found[name] = random.normal(size=shape).astype(np.float32)
        else:
            found[name] = random.integers(0, 256, shape).astype(array.dtype)
    return found
