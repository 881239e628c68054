"""How many clips a second are decoded, by processors and by a GPU's decoder, and scored.

    python -m benchmarks run gpu-decoding -- --device cuda
    python -m benchmarks run gpu-decoding -- --device cpu --seconds 1 --scratch DIR

The clip is 15 s at 1280x720 from ``moving_clip.py``, of which 16 frames are wanted. *Processors*: a
process per processor, each decoding on one thread, by decode profile; all begin together. *NVDEC*:
the GPU's decoder through PyAV, every picture of the clip, on 1, 4 and 8 threads; the chosen ones
stay on the GPU and become RGB there. A thread opens one decoder and flushes it between clips; all
share the primary CUDA context. *Scored*: from mp4 to scores by ``mmperson benchmark``'s offline
scenario, with a process per processor and graphs in fp16 on the device. Weights are random. What
cannot be run is named with its reason; nothing is decoded in software in its place.
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from torch import Tensor

from benchmarks.speed.gpu import describe_device, require
from benchmarks.speed.gpu_systems import random_text_weights
from benchmarks.speed.moving_clip import write_moving_clip
from benchmarks.speed.networks import random_bundle
from mmperson.benchmark.offline import measure_pool
from mmperson.inference.bundle import open_bundle
from mmperson.inference.scoring import ScoringWorkload
from mmperson.media import Decode, read_clip
from mmperson.media.limits import DEFAULT_LIMITS
from mmperson.media.open import open_container, start_s, usable_streams
from mmperson.media.scan import scan_packets
from mmperson.media.video import nearest_frames, plan_frames
from mmperson.pool.worker_pool import DEFAULT_MEMORY_MB, WorkerLimits, cpu_count

PACKAGES = ("numpy", "av", "soxr", "onnxruntime", "onnxruntime-gpu", "tokenizers", "torch")
FRAMES = 16
STREAMS = (1, 4, 8)
"""Threads that decode on the GPU side by side, each a stream of its own."""
MEMORY_MB = {"cpu": DEFAULT_MEMORY_MB, "cuda": 1e6}
"""Addresses of a worker; CUDA reserves many."""
STARTUP_TIMEOUT_S = 300.0
"""How long the first of several decoders waits for the last to get ready."""
PROFILES: tuple[Decode, ...] = ("exact", "fast", "key")
RGB_OF_YCC = ((1.164, 0.0, 1.596), (1.164, -0.392, -0.813), (1.164, 2.017, 0.0))
"""ITU-R BT.601, limited range: what FFmpeg takes for video that does not say."""


def chosen_ticks(path: Path, count: int) -> list[int]:
    """Return when the frames are shown that ``read_clip`` chooses, in ticks of the stream."""
    with open_container(path, DEFAULT_LIMITS) as container:
        stream, _ = usable_streams(container)
        scan = scan_packets(container, stream, DEFAULT_LIMITS)
        ticks = np.unique(scan.video_ticks)
        times_s = ticks * float(stream.time_base) - start_s(container)
    targets_s = plan_frames(scan.video_start_s, scan.video_end_s, count)
    return [int(tick) for tick in ticks[nearest_frames(times_s, targets_s)]]


class Decoder:
    """Decodes one clip after the other, and opens a codec only for a clip that is coded otherwise.

    Args:
        accelerator: Makes the GPU's decoder; None decodes on one processor.
    """

    def __init__(self, accelerator: Callable[[], HWAccel] | None) -> None:
        self._accelerator = accelerator
        self._coded: tuple[Any, ...] = ()
        self._codec: VideoCodecContext | None = None

    def read(self, path: Path, ticks: Sequence[int]) -> Tensor:
        """Decode a clip and keep its chosen frames where they were decoded.

        Args:
            path: The clip.
            ticks: When they are shown.

        Returns:
            uint8 (frame, 3, height, width), RGB.
        """
        found: dict[int, Tensor] = {}
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            codec = self._opened(stream.codec_context)
            for packet in container.demux(stream):  # the last one is empty and brings the rest
                for frame in codec.decode(packet if packet.size else None):
                    if frame.pts in ticks:
                        found[frame.pts] = to_rgb(frame)
                if len(found) == len(set(ticks)):
                    break
        codec.flush_buffers()
        return torch.stack([found[tick] for tick in ticks])

    def _opened(self, given: VideoCodecContext) -> VideoCodecContext:
        """Return the decoder of the last clip if it fits this one, too, else a new one."""
        coded = (given.name, given.width, given.height, given.extradata)
        if self._codec is None or coded != self._coded:
            made = None if self._accelerator is None else self._accelerator()
            codec = av.CodecContext.create(given.name, "r", hwaccel=made)
            codec.extradata, codec.thread_type = given.extradata, "NONE"
            self._codec, self._coded = codec, coded
        return self._codec


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


def rate_per_s(
    work: Callable[[], Any], seconds: float, ready: Callable[[], Any] = lambda: None
) -> float:
    """Return how often a second something can be done, after a time that does not count.

    Args:
        work: What is done.
        seconds: How long, at least.
        ready: Called once it is warm; returns when the clock may start.
    """
    work()
    ready()
    done, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        work()
        done += 1
    return done / passed


def decode_by_processors(
    clip: Path, profile: Decode, workers: int, seconds: float
) -> dict[str, float]:
    """Decode on so many processes, started anew: FFmpeg does not survive a fork."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(workers)  # one that has a clip waits for all, so that each gets one
    with spawn.Pool(workers, _take_barrier, (start,)) as pool:
        rates = pool.map(partial(_reading_rate, clip, profile), [seconds] * workers, 1)
    return {"workers": workers, "clips_per_s": sum(rates)}


_starts: list[Any] = []


def _take_barrier(start: Any) -> None:
    """Keep in a new process what cannot be handed to it with its work."""
    _starts.append(start)


def _reading_rate(clip: Path, profile: Decode, seconds: float) -> float:
    read = partial(read_clip, clip, frames=FRAMES, decode=profile, threads="none")
    return rate_per_s(read, seconds, partial(_starts[-1].wait, STARTUP_TIMEOUT_S))


def nvdec() -> HWAccel:
    """Return the GPU's decoder, and nothing in its place."""
    return HWAccel("cuda", allow_software_fallback=False, is_hw_owned=True)


def decode_by_streams(
    clip: Path, streams: int, seconds: float, accelerator: Callable[[], HWAccel] | None
) -> dict[str, float]:
    """Decode on so many threads, each with a decoder of its own; frames stay where they are."""
    ticks = chosen_ticks(clip, FRAMES)
    start = threading.Barrier(streams)
    rates: list[float] = []
    problems: list[Exception] = []

    def decode(decoder: Decoder) -> None:
        decoder.read(clip, ticks)
        if accelerator is not None:
            torch.cuda.synchronize()

    def work() -> None:
        try:
            decoder = Decoder(accelerator)
            rates.append(
                rate_per_s(
                    partial(decode, decoder), seconds, partial(start.wait, STARTUP_TIMEOUT_S)
                )
            )
        except Exception as error:  # told below, by the thread that is asked
            problems.append(error)
            start.abort()

    threads = [threading.Thread(target=work) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in problems:
        if not isinstance(error, threading.BrokenBarrierError):  # the others have stopped for it
            raise error
    return {"streams": streams, "clips_per_s": sum(rates)}


def score(
    bundle: Path, clip: Path, device: Literal["cpu", "cuda"], profile: Decode, seconds: float
) -> dict[str, float]:
    """Score from mp4 to scores; the processes decode while others compute."""
    work = ScoringWorkload(open_bundle(bundle), device, profile)
    limits = WorkerLimits(cpu_count(), memory_mb=MEMORY_MB[device])
    rate = measure_pool(work, [str(clip)], limits, seconds, {})
    return {"workers": rate.workers, "clips_per_s": rate.clips_per_s}


def measure_ways(
    clip: Path, bundle: Path, device: Literal["cpu", "cuda"], seconds: float
) -> list[dict[str, Any]]:
    """Measure every way; one that fails is named with its reason."""
    ways: dict[str, Callable[[], dict[str, float]]] = {
        f"NVDEC, {streams} threads": partial(decode_by_streams, clip, streams, seconds, nvdec)
        for streams in STREAMS
    }
    for profile in PROFILES:
        ways[f"processors, {profile}"] = partial(
            decode_by_processors, clip, profile, cpu_count(), seconds
        )
        ways[f"scored, {profile}"] = partial(score, bundle, clip, device, profile, seconds)
    rows = []
    for way, work in ways.items():
        try:
            rows.append({"way": way, **work()})
        except Exception as error:  # what fails is a finding, and the rest goes on
            reason = (str(error).splitlines() or [""])[0][:300]
            rows.append({"way": way, "refused": f"{type(error).__name__}: {reason}"})
        print(rows[-1], flush=True)
    return rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--seconds", type=float, default=10.0, help="per way")


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Draw a clip and a bundle, and measure every way."""
    require(given.device)
    clip = write_moving_clip(folder / "clip.mp4", 15.0, 1280, 720)
    weights = random_text_weights(folder / "text")
    changes = {"video.frames": str(FRAMES), "text.weights": str(weights)}
    bundle = random_bundle(folder, changes, "fp16")
    rows = measure_ways(clip, bundle, given.device, given.seconds)
    facts = describe_device(given.device)
    return {"gpu-decoding": {**facts, "frames": FRAMES, "rows": rows}}


def smoke(folder: Path) -> None:
    from benchmarks.speed.gpu_checks import check_gpu_decoding

    check_gpu_decoding(folder)
