"""How many clips a second are decoded, by processors and by a GPU's decoder, and scored.

    python benchmarks/gpu_decoding.py --device cuda
    python benchmarks/gpu_decoding.py --device cpu --seconds 1    # that it runs

The clip is 15 s at 1280x720 from ``moving_clip.py``, of which 16 frames are wanted. *Processors*: a
process per processor, each decoding on one thread, by decode profile. *NVDEC*: the GPU's decoder
through PyAV, every picture of the clip; the chosen ones stay on the GPU and become RGB there. All
clips share the primary CUDA context. *Scored*: from mp4 to scores by ``mmperson benchmark``'s
offline scenario, with a process per processor and graphs in fp16 on the device. Weights are random.
What cannot be run is named with its reason; nothing is decoded in software in its place. A result
file is never overwritten.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from av.codec.hwaccel import HWAccel
from av.video.frame import VideoFrame
from decoding import random_bundle
from gpu import require
from moving_clip import write_moving_clip
from result_file import circumstances, write_result
from torch import Tensor

from mmperson.benchmark.circumstances import PACKAGES
from mmperson.benchmark.offline import measure_offline
from mmperson.errors import UsageError
from mmperson.media import Decode, read_clip
from mmperson.media.container import open_container, start_s, usable_streams
from mmperson.media.limits import DEFAULT_LIMITS
from mmperson.media.survey import survey_packets
from mmperson.media.video import nearest_frames, plan_frames
from mmperson.runtime.bundle import open_bundle
from mmperson.workers.crew import processors

FRAMES = 16
PROFILES: tuple[Decode, ...] = ("exact", "fast", "key")
RGB_OF_YCC = ((1.164, 0.0, 1.596), (1.164, -0.392, -0.813), (1.164, 2.017, 0.0))
"""ITU-R BT.601, limited range: what FFmpeg takes for video that does not say."""


def chosen_ticks(path: Path, count: int) -> list[int]:
    """Return when the frames are shown that ``read_clip`` chooses, in ticks of the stream."""
    with open_container(path, DEFAULT_LIMITS) as container:
        stream, _ = usable_streams(container)
        survey = survey_packets(container, stream, DEFAULT_LIMITS)
        ticks = np.unique(survey.video_ticks)
        times_s = ticks * float(stream.time_base) - start_s(container)
    targets_s = plan_frames(survey.video_start_s, survey.video_end_s, count)
    return [int(tick) for tick in ticks[nearest_frames(times_s, targets_s)]]


def decode_to_tensors(path: Path, ticks: list[int], accelerator: HWAccel | None) -> Tensor:
    """Decode a clip and keep its chosen frames where they were decoded.

    Args:
        path: The clip.
        ticks: When they are shown.
        accelerator: The GPU's decoder; None decodes on one processor.

    Returns:
        uint8 (frame, 3, height, width), RGB.
    """
    found: dict[int, Tensor] = {}
    wanted = set(ticks)
    with av.open(str(path), hwaccel=accelerator) as container:
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            if frame.pts in wanted:
                found[frame.pts] = to_rgb(frame)
                if len(found) == len(wanted):
                    break
    return torch.stack([found[tick] for tick in ticks])


def to_rgb(frame: VideoFrame) -> Tensor:
    """Turn a frame into uint8 (3, height, width), RGB, where it lies."""
    if frame.format.name not in ("cuda", "nv12"):
        frame = frame.reformat(format="nv12")
    # A capsule, not the plane itself: torch would ask for a stream, which PyAV does not know.
    luma, chroma = (torch.utils.dlpack.from_dlpack(x.__dlpack__()) for x in frame.planes)
    height, width = luma.shape[:2]
    chroma = chroma.reshape(height // 2, width // 2, 2).permute(2, 0, 1)
    chroma = chroma.repeat_interleave(2, 1).repeat_interleave(2, 2)
    ycc = torch.cat([luma.reshape(1, height, width).float() - 16, chroma.float() - 128])
    rgb = torch.einsum("cy,yhw->chw", torch.tensor(RGB_OF_YCC, device=ycc.device), ycc)
    return rgb.round().clamp(0, 255).to(torch.uint8)


def pace(work: Callable[[], Any], seconds: float) -> float:
    """Return how often a second something can be done, after a time that does not count."""
    work()
    done, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        work()
        done += 1
    return done / passed


def by_processors(clip: Path, profile: Decode, workers: int, seconds: float) -> dict[str, float]:
    """Decode on so many processes, started anew: FFmpeg does not survive a fork."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        rates = pool.map(partial(_pace_of_reading, clip, profile), [seconds] * workers, 1)
    return {"workers": workers, "clips_per_s": sum(rates)}


def _pace_of_reading(clip: Path, profile: Decode, seconds: float) -> float:
    read = partial(read_clip, clip, frames=FRAMES, decode=profile, threads="none")
    return pace(read, seconds)


def by_nvdec(clip: Path, seconds: float) -> dict[str, float]:
    """Decode on the GPU; frames stay there."""
    ticks = chosen_ticks(clip, FRAMES)

    def decode() -> None:
        accelerator = HWAccel("cuda", allow_software_fallback=False, is_hw_owned=True)
        decode_to_tensors(clip, ticks, accelerator)
        torch.cuda.synchronize()

    return {"clips_per_s": pace(decode, seconds)}


def scored(
    folder: Path, clip: Path, device: Literal["cpu", "cuda"], profile: Decode, seconds: float
) -> dict[str, float]:
    """Score from mp4 to scores; the processes decode while others compute."""
    bundle = open_bundle(folder / "bundle")
    rates = measure_offline(bundle, [str(clip)], device, profile, processors(), seconds)
    return {"workers": rates[-1].workers, "clips_per_s": rates[-1].clips_per_s}


def measure(clip: Path, folder: Path, device: Literal["cpu", "cuda"], seconds: float) -> list[Any]:
    """Measure every way; one that fails is named with its reason."""
    ways: dict[str, Callable[[], dict[str, float]]] = {"NVDEC": lambda: by_nvdec(clip, seconds)}
    for profile in PROFILES:
        ways[f"processors, {profile}"] = partial(
            by_processors, clip, profile, processors(), seconds
        )
        ways[f"scored, {profile}"] = partial(scored, folder, clip, device, profile, seconds)
    rows = []
    for way, work in ways.items():
        try:
            rows.append({"way": way, **work()})
        except Exception as error:  # what fails is a finding, and the rest goes on
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
            rows.append({"way": way, "refused": reason})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--seconds", type=float, default=10.0, help="per way")
    parser.add_argument("--no-save", action="store_true")
    given = parser.parse_args()
    try:
        require(given.device)
    except UsageError as error:
        raise SystemExit(str(error)) from error
    facts = circumstances((*PACKAGES, "torch"), threads=1)
    facts["device"] = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = write_moving_clip(folder / "clip.mp4", 15.0, 1280, 720)
        random_bundle(folder, {"video.frames": str(FRAMES)}, "fp16")
        rows = measure(clip, folder, given.device, given.seconds)
    if not given.no_save:
        write_result("gpu-decoding", facts, {"frames": FRAMES, "rows": rows})


if __name__ == "__main__":
    main()
