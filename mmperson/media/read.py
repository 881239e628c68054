"""Read a clip, or a recording window by window: look through the file, then decode in one pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mmperson.media.audio import AudioWindow
from mmperson.media.clip import Clip, ReadRequest, decode_windows
from mmperson.media.decode import Decode, Threads
from mmperson.media.limits import DEFAULT_LIMITS, LONG_LIMITS, MediaLimits
from mmperson.media.open import open_container, usable_streams
from mmperson.media.probe import describe
from mmperson.media.scan import scan_index, scan_packets
from mmperson.media.windows import WHOLE, Span, check_windows, plan_windows


def read_clip(
    path: str | os.PathLike[str],
    *,
    frames: int = 0,
    audio: AudioWindow | None = None,
    span: Span | None = None,
    decode: Decode = "exact",
    threads: Threads = "auto",
    limits: MediaLimits = DEFAULT_LIMITS,
) -> Clip:
    """Decode what is wanted of a clip, and no more.

    A modality that is missing or damaged is None and a warning. The clip as a whole is an error
    only where nothing of it can be used.

    Args:
        path: A local file.
        frames: How many frames, nearest in time to the centres of as many equal parts of the video;
            where the video has fewer, the nearest are repeated. 0 decodes no video packet.
        audio: Which part of the audio, at which rate. None decodes no audio packet.
        span: Reads these seconds as if they were the clip: frames are spread over them, and the
            audio window starts with them and ends with them at the latest. None for all.
        decode: Which frames of the video are decoded, see ``Decode``; those that are returned are
            the nearest among them, and a warning says how near.
        threads: FFmpeg's threading of video: ``"auto"`` suits one clip, ``"none"`` a pool of
            workers.
        limits: What is refused.

    Returns:
        The clip.

    Raises:
        UsageError: A negative number of frames, or no such profile.
        MediaError: The file cannot be opened, is beyond a limit, or nothing in it can be used.
    """
    spans = [span or WHOLE]
    (clip,) = _read(
        path, ReadRequest(frames, audio, decode, threads, limits), lambda _: spans, spans[0]
    )
    return clip


def read_windows(
    path: str | os.PathLike[str],
    window_s: float,
    step_s: float | None = None,
    *,
    frames: int = 0,
    audio: AudioWindow | None = None,
    decode: Decode = "exact",
    threads: Threads = "auto",
    limits: MediaLimits = LONG_LIMITS,
) -> Iterator[Clip]:
    """Read a recording window by window, in one pass.

    Each clip is what ``read_clip`` returns for its ``span``. Memory holds the windows that overlap,
    however long the recording is.

    Args:
        path: A local file.
        window_s: Length of a window in seconds, see ``plan_windows``.
        step_s: From the start of one window to that of the next, in seconds; ``window_s`` without
            it.
        frames: Frames per window.
        audio: Which part of each window's audio, at which rate.
        decode: Which frames of the video are decoded.
        threads: FFmpeg's threading of video.
        limits: What is refused.

    Returns:
        The clips, as they are asked for. Where audio and video of the same time lie so far apart in
        the file that waiting would fill the memory, a clip has what was reached by then.

    Raises:
        UsageError: Windows that are too short or too many, or see ``read_clip``.
        MediaError: See ``read_clip``; also while the clips are read.
    """
    step_s = window_s if step_s is None else step_s
    check_windows(window_s, step_s)
    request = ReadRequest(frames, audio, decode, threads, limits)
    return _read(
        path, request, lambda duration_s: plan_windows(duration_s, window_s, step_s), WHOLE
    )


def _read(
    path: str | os.PathLike[str],
    request: ReadRequest,
    plan: Callable[[float], Sequence[Span]],
    extent: Span,
) -> Iterator[Clip]:
    """Scan a file, then decode the spans that are planned from its length in seconds."""
    pictures = request.frames > 0
    with open_container(path, request.limits, pictures=False) as container:
        info = describe(container, path)
        scan = None if pictures else scan_index(container)
        if scan is not None:
            yield from decode_windows(container, info, scan, plan(info.duration_s or 0.0), request)
            return
        video_stream, _ = usable_streams(container)
        scan = scan_packets(container, video_stream, request.limits, extent.start_s)
    if info.duration_s is None:
        info = replace(info, duration_s=scan.end_s)
    # Opened anew, because not every format finds back to its first packet.
    with open_container(path, request.limits, pictures=pictures) as container:
        yield from decode_windows(container, info, scan, plan(scan.end_s or 0.0), request)
