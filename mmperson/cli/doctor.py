"""`mmperson doctor`: installed versions, execution providers and the integrity of the weights."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import mmperson
from mmperson.cli.terminal import plain, plain_lines
from mmperson.errors import BundleError

_PACKAGES = (
    "numpy",
    "av",
    "opencv-python",
    "opencv-python-headless",
    "soxr",
    "onnxruntime",
    "onnxruntime-gpu",
    "tokenizers",
    "pyarrow",
)
_EXTRAS = ("torch", "torchaudio", "torchvision", "transformers", "onnx")


def doctor(
    bundle: Annotated[
        str | None, typer.Option(help="Bundle to check; default: every shipped one.")
    ] = None,
) -> None:
    """Report versions, processors, providers and weights; exit code 3 if weights are unusable."""
    from mmperson.inference.bundle import shipped_bundles

    console = Console(highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts().items():
        table.add_row(f"[bold]{name}[/]", plain(value))
    console.print(table)
    names = [bundle] if bundle is not None else shipped_bundles()
    if not names:
        console.print("\nThis installation has no bundle.")
    reports: dict[str, Callable[[Console], None]] = {
        name: partial(_report_bundle, name) for name in names
    }
    failed = False
    for name, report in (reports | {"face detector": _report_face_detector}).items():
        try:
            report(console)
        except BundleError as error:
            failed = True
            message = f"[red]{type(error).__name__}[/]: {plain_lines(str(error))}"
            console.print(f"\n[bold]{plain(name)}[/]  {message}")
    if failed:
        raise typer.Exit(BundleError.exit_code)


def _facts() -> dict[str, str]:
    import av
    import onnxruntime

    from mmperson.inference.providers import available, probe
    from mmperson.pool.worker import limits_memory
    from mmperson.pool.worker_pool import cpu_count

    cores = os.cpu_count() or 1
    reasons = {f"provider {name}": probe(name) for name in available()}
    libraries = {name: ".".join(map(str, v)) for name, v in av.library_versions.items()}
    return {
        "mmperson": mmperson.__version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "processors": f"{cpu_count()} usable of {cores}; one thread per graph",
        "workers": "limited in time" + (" and memory" if limits_memory() else ", not in memory"),
        "packages": _versions(_PACKAGES),
        "training": _versions(_EXTRAS),
        "ffmpeg of PyAV": "  ".join(f"{name} {version}" for name, version in libraries.items()),
        "ffmpeg of OpenCV": _ffmpeg_of_opencv(),
        **{
            name: f"starts in onnxruntime {onnxruntime.__version__}"
            if reason is None
            else f"does not start in onnxruntime {onnxruntime.__version__}: {reason}"
            for name, reason in reasons.items()
        },
        "executable": sys.executable,
    }


def _ffmpeg_of_opencv() -> str:
    """Return the versions of OpenCV's own FFmpeg, which mmperson does not use."""
    import cv2

    found = re.findall(r"((?:av|sw)\w+):\s+YES \(([\d.]+)\)", cv2.getBuildInformation())
    return "  ".join(f"{name} {version}" for name, version in found) or "none"


def _versions(packages: tuple[str, ...]) -> str:
    from mmperson.benchmark.environment import package_versions

    found = package_versions(packages)
    return "  ".join(f"{name} {version}" for name, version in found.items()) or "not installed"


def _report_bundle(name: str, console: Console) -> None:
    from mmperson.inference.bundle import open_bundle
    from mmperson.inference.predictor import Predictor
    from mmperson.schema import MODALITIES

    bundle = open_bundle(name)
    Predictor(bundle)
    info: Any = bundle.info
    unread = [m for m in MODALITIES if m not in info.modalities]
    where = plain(str(bundle.folder))
    console.print(f"\n[bold]{plain(bundle.model)}[/]  [green]intact[/]  {where}")
    console.print(f"  reads {', '.join(info.modalities)}; does not read {', '.join(unread) or '—'}")
    console.print(f"  input spec {info.spec_hash[:12]}, opset {info.opset}, {plain(info.licence)}")
    size = sum(facts.bytes for facts in info.files.values())
    _print_file(console, bundle.hash, size, "all files of the bundle")
    for file, facts in info.files.items():
        kind = info.precision.get(file.removesuffix(".onnx"), "")
        _print_file(console, facts.sha256, facts.bytes, f"{file} {kind}".rstrip())


def _report_face_detector(console: Console) -> None:
    from mmperson.preprocessing.video.faces import (
        MODEL_BYTES,
        MODEL_FILE,
        MODEL_SHA256,
        FaceDetector,
        find_model,
    )

    path = find_model()
    FaceDetector(path)
    console.print(f"\n[bold]face detector[/]  [green]intact[/]  {plain(str(path.parent))}")
    _print_file(console, MODEL_SHA256, MODEL_BYTES, MODEL_FILE)


def _print_file(console: Console, sha256: str, size_bytes: int, name: str) -> None:
    console.print(f"  [dim]{sha256[:12]}  {size_bytes:>10,}  {plain(name)}[/]")
