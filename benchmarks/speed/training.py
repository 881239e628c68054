"""How fast ``three_modalities`` trains here, and how long a corpus of 6,000 clips would take.

    python -m benchmarks run training -- --device cuda --precision bf16
    python -m benchmarks run training    # the same on the CPU, in fp32

Copies of one clip stand in for a corpus, with labels drawn at random: this measures speed alone.
Three rates: decoding and preparing clips; training end to end on the decoded inputs that are kept
on disk; and training on the kept features of a frozen image network, whose weights are random. The
first epoch, which warms everything up, does not count.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import DEMO
from benchmarks.speed.networks import RECIPE, write_corpus
from mmperson.config import load_recipe
from mmperson.datasets import read_manifest
from mmperson.datasets.cache import FeatureCache
from mmperson.datasets.dataset import ClipDataset
from mmperson.models.checkpoint import load_network
from mmperson.models.encoders.frames import image_network
from mmperson.models.input_spec import TOKENIZER_FILE, input_spec, tokenizer_file
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.training import train
from mmperson.training.encoding import encode_rows

PACKAGES = ("torch", "timm", "av")
CORPUS = 6000
WAYS = {"end to end": "true", "kept image features": "false"}
"""What is measured, and whether the image network is trained then."""
PEAK_BF16 = {"H100": 989e12, "H200": 989e12}
"""Dense bf16 operations per second that the maker states, by a part of the device's name."""


def measure_training(
    changes: dict[str, str], clip: Path, clips: int, folder: Path
) -> dict[str, Any]:
    """Decode copies of a clip, then train on them end to end and on kept features."""
    write_corpus(clip, clips, folder)
    cache = folder / "cache"
    changes = {**changes, "data.manifest": str(folder / "manifest.parquet")}
    changes |= {"run.cache": str(cache), "video.weights": str(random_weights(folder))}
    decoding = decode(changes, cache)
    found: dict[str, Any] = {"clips": clips, "decoded_clips_per_s": decoding}
    for name, trainable in WAYS.items():
        changes["video.trainable"] = trainable
        found[name] = pace(changes, folder / name.replace(" ", "-"))
    epochs = load_recipe(RECIPE).optim.epochs
    found["projected_s"] = {
        "clips": CORPUS,
        "epochs": epochs,
        "decoding in one process": CORPUS / decoding,
        **{name: epochs * CORPUS / found[name]["clips_per_s"] for name in WAYS},
    }
    return found


def random_weights(folder: Path) -> Path:
    """Write the image network as it is before any training: a frozen one must have weights."""
    path = folder / "random.safetensors"
    save_file(image_network(load_recipe(RECIPE).video.backbone).state_dict(), path)
    return path


def decode(changes: dict[str, str], cache: Path) -> float:
    """Decode and prepare every clip into the cache; return clips per second in one process."""
    recipe = load_recipe(RECIPE, changes)
    spec, manifest = input_spec(recipe), read_manifest(recipe.data.manifest)
    tokenizer = load_tokenizer(tokenizer_file(recipe.text))
    begun = time.perf_counter()
    ClipDataset.prepare(manifest, spec, tokenizer, FeatureCache(cache / spec.hash[:16], spec))
    return len(manifest) / (time.perf_counter() - begun)


def pace(changes: dict[str, str], run: Path) -> dict[str, Any]:
    """Train, and return clips per second after the first epoch, operations and memory."""
    recipe = load_recipe(RECIPE, changes)
    device = torch.device(recipe.run.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    ends: list[float] = []
    rows = train(recipe, run, lambda *_: ends.append(time.perf_counter())).train_rows
    rate = rows * (len(ends) - 1) / (ends[-1] - ends[0])
    work = operations(run)
    used = work * rate
    peak = next((p for part, p in PEAK_BF16.items() if part in hardware(device)), None)
    return {
        "clips_per_s": rate,
        "operations_per_clip": work,
        "operations_per_s": used,
        "share_of_bf16_peak": used / peak if peak else None,
        "peak_memory_mb": peak_memory(device) / 2**20,
    }


def operations(run: Path) -> float:
    """Count the floating-point operations of a clip's forward and backward pass."""
    trained = load_network(run)
    manifest = read_manifest(trained.recipe.data.manifest)
    tokenizer = load_tokenizer(run / TOKENIZER_FILE)
    rows = ClipDataset.prepare(manifest.select(np.arange(1)), trained.spec, tokenizer)
    for name, encoder in trained.network.encoders.items():
        if encoder.frozen:  # Has run once, before the first epoch.
            rows = encode_rows(trained.network, rows, name, trained.recipe.run.cache)
    trained.network.train()
    with FlopCounterMode(display=False) as counter:
        trained.network(rows.batch(np.arange(1))).sum().backward()
    return float(counter.get_total_flops())


def hardware(device: torch.device) -> str:
    """Name the device that trains."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def peak_memory(device: torch.device) -> float:
    """Return the most memory in bytes: of the device, or of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clip", type=Path, default=DEMO)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4, help="2 or more; the first is not counted")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, help="instead of those of the recipe")
    parser.add_argument("--size", type=int, help="pixels of a frame's side, likewise")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure decoding and both ways of training."""
    changes = {
        "optim.epochs": str(given.epochs),
        "optim.batch_size": str(given.batch),
        "optim.precision": given.precision,
        "run.device": given.device,
        "run.workers": str(given.workers),
        "run.threads": str(given.threads),
    }
    changes |= {
        f"video.{name}": str(value)
        for name, value in (("frames", given.frames), ("size", given.size))
        if value
    }
    found = measure_training(changes, given.clip, given.clips, folder)
    found |= {"precision": given.precision, "device": hardware(torch.device(given.device))}
    return {"training-speed": found}


def smoke(folder: Path) -> None:
    arguments = argparse.ArgumentParser()
    add_arguments(arguments)
    tiny = ["--clips", "2", "--epochs", "2", "--batch", "2", "--frames", "2", "--size", "32"]
    found = measure(arguments.parse_args([*tiny, "--threads", "1"]), folder)["training-speed"]
    whole, kept = found["end to end"], found["kept image features"]
    # The image network's own work is saved; the other encoders' and the fusion's stays.
    assert 0 < kept["operations_per_clip"] < whole["operations_per_clip"]
    rate = whole["operations_per_clip"] * whole["clips_per_s"]
    assert abs(whole["operations_per_s"] / rate - 1) < 1e-6
    assert whole["share_of_bf16_peak"] is None  # There is no such figure for a CPU.
    assert found["projected_s"]["decoding in one process"] > 0
