"""Every benchmark by name, without importing it: a new one is a module and an entry here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """What ``python -m benchmarks list`` shows.

    The module has a docstring, ``PACKAGES`` (whose versions a result states), ``add_arguments``,
    ``measure`` and ``smoke``; see ``harness.run`` and ``harness.smoke``.

    Attributes:
        module: Name within this package.
        measures: What is measured, in one line.
        takes: Time on two idle cores.
        needs: What must be at hand beside the base install and the shipped weights.
        kinds: Kinds of results that it writes.
    """

    module: str
    measures: str
    takes: str
    needs: str
    kinds: tuple[str, ...]


BENCHMARKS = {
    "throughput": Benchmark(
        "speed.throughput",
        "every scenario of `mmperson benchmark`, and memory over 1,000 clips",
        "3 min",
        "Linux, clips",
        ("throughput",),
    ),
    "scaling": Benchmark(
        "speed.scaling",
        "CPU time by pixels, length, workers and batch, beside its floor",
        "10 min",
        "Linux, train and export extras",
        ("scaling",),
    ),
    "decoding": Benchmark(
        "speed.decoding",
        "CPU time of the decode profiles, and what fewer frames change",
        "5 min",
        "clips with video, train and export extras",
        ("decoding",),
    ),
    "engines": Benchmark(
        "speed.engines",
        "CPU time of each graph by precision and provider",
        "4 min",
        "train and export extras",
        ("engines",),
    ),
    "training": Benchmark(
        "speed.training",
        "clips per second of training, end to end and on kept features",
        "10 min",
        "train extra",
        ("training-speed",),
    ),
    "gpu": Benchmark(
        "speed.gpu",
        "encoders and fusion on a GPU, in ONNX Runtime and in torch",
        "20 min",
        "a GPU, train and export extras",
        ("gpu",),
    ),
    "gpu-decoding": Benchmark(
        "speed.gpu_decoding",
        "clips decoded per second, by processors and by a GPU",
        "5 min",
        "a GPU, train and export extras",
        ("gpu-decoding",),
    ),
    "impressions": Benchmark(
        "quality.impressions",
        "a bundle on First Impressions V2",
        "5 min",
        "manifest of First Impressions V2",
        ("impressions",),
    ),
    "fusions": Benchmark(
        "quality.fusions",
        "eight fusions on the same features",
        "55 min (youtube: 13)",
        "train extra, manifest of a corpus",
        ("impressions-fusions", "youtube-fusions"),
    ),
    "text-systems": Benchmark(
        "quality.text_systems",
        "systems that read transcripts alone",
        "20 min",
        "train extra, SmolLM2, manifest of First Impressions V2",
        ("text-systems", "prompts", "questionnaire"),
    ),
    "synthetic": Benchmark(
        "quality.synthetic",
        "whether each trait is learned from the signal that it was planted in",
        "60 min",
        "train and export extras, a folder of footage",
        ("synthetic",),
    ),
    "seven-clips": Benchmark(
        "quality.seven_clips",
        "the way from real clips to a bundle and back; no quality",
        "3 min",
        "train and export extras, clips of First Impressions V2",
        ("seven-clips",),
    ),
    "peers": Benchmark(
        "peers.cost",
        "CPU time of a clip in two other systems and in mmperson",
        "10 min",
        "Linux, environments made by benchmarks/peers/setup.sh",
        ("peers",),
    ),
}
