"""`mmperson predict`: score clips."""

from __future__ import annotations

import itertools
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from mmperson.cli.file_lock import FileLock
from mmperson.cli.interrupts import RunStatus, count, interruptible
from mmperson.cli.output import (
    appending,
    check_output_path,
    info,
    replacing,
    to_stdout,
    write,
)
from mmperson.cli.records import Format, render
from mmperson.errors import UsageError
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.inference.scoring import ScoringWorkload
    from mmperson.pool.worker_pool import WorkerLimits


class ClipCommand(TyperCommand):
    """A command whose arguments are file names, which may start with a dash."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; explain file names that look like unknown options."""
        try:
            return super().parse_args(ctx, args)
        except _BadCall as error:
            if hasattr(error, "option_name"):
                error.message += " Put clips whose name starts with '-' after ' -- '."
            raise


# The base of click's errors; recent versions of typer bundle their own click.
_BadCall: Any = typer.BadParameter.__base__


def predict(
    clips: Annotated[
        list[str], typer.Argument(metavar="CLIP…", help="Video or audio files, or folders of them.")
    ],
    transcript: Annotated[
        Path | None,
        typer.Option(
            help="Transcript: .txt, .srt, .vtt or .json; default: the file next to the clip with "
            "its name. For one clip only."
        ),
    ] = None,
    bundle: Annotated[
        str, typer.Option(help="Weights: a shipped bundle's name, or a folder.")
    ] = "impressions-text-audio",
    provider: Annotated[
        Literal["cpu", "cuda"],
        typer.Option(help="Where the networks run; cuda needs onnxruntime-gpu and a GPU."),
    ] = "cpu",
    decode: Annotated[
        Literal["exact", "fast", "key"],
        typer.Option(
            help="Which frames of a video are decoded: all necessary ones, reference frames only, "
            "or keyframes only."
        ),
    ] = "exact",
    windows: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Score windows of this length, one record each, in one pass with constant memory.",
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time between window starts; default: the window length.",
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="Default: text on a terminal, jsonl or csv for a file with that extension, else "
            "json. json is one record for one clip and a list for several."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the records instead of stdout. A JSON lines file is appended to, and a "
            "second run skips the clips in it."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Worker processes; 0 scores in this process. Default: one per processor for "
            "several clips, 0 for a single clip."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Timeout per clip in a worker: 300."),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(metavar="MB", help="Memory limit per clip in a worker on Linux: 2048."),
    ] = None,
) -> None:
    """Score clips: the apparent Big Five of the speaker, as observers would rate them.

    Exit code 0: every clip was scored. 1: some clips failed; their records have the error.
    Interrupted, 130: Ctrl-C, 143: SIGTERM, 129: SIGHUP; the finished records are written.
    """
    from mmperson.pool.worker import SINGLE_THREAD_ENV

    os.environ.update(SINGLE_THREAD_ENV)  # before numpy is imported
    from mmperson.media.folders import expand_folders

    clips = expand_folders(clips)
    if transcript is not None and len(clips) > 1:
        raise UsageError(f"--transcript is for one clip; there are {len(clips)}.")
    _check_windows(windows, step, len(clips), uses_workers=bool(workers or timeout or memory))
    if out is not None:
        check_output_path(out, clips, transcript)
    elif sys.stdout is None:
        raise UsageError("Standard output is closed.", hint="Give --out FILE.")
    from mmperson.inference.batch import score_jobs
    from mmperson.inference.bundle import open_bundle
    from mmperson.inference.predictor import Predictor
    from mmperson.inference.scoring import Job, ScoringWorkload

    limits = _worker_limits(len(clips), workers, timeout, memory)
    opened = open_bundle(bundle)
    form = format or _form_for(out)
    several = len(clips) > 1 or windows is not None
    is_file = out is not None and (out.is_file() or not out.exists())
    appends = is_file and form == "jsonl" and windows is None
    others = opened.info.targets[len(TRAITS) :]
    status = RunStatus()
    work = ScoringWorkload(opened, provider, decode)
    with ExitStack() as stack:
        if out is not None and appends:
            stack.enter_context(FileLock(out))
            clips = _resume(out, work, clips, transcript)
        if windows is None:
            words = None if transcript is None else str(transcript)
            pending = itertools.takewhile(lambda _: not status.stop_signal, clips)
            jobs = (Job(clip, words) for clip in pending)
            records = score_jobs(work, jobs, limits, ordered=not appends)
        else:
            predictor = Predictor(opened, provider=provider, decode=decode)
            parts = predictor.predict_windows(clips[0], transcript, window_s=windows, step_s=step)
            records = itertools.takewhile(lambda _: not status.stop_signal, parts)
        if out is None:
            output = to_stdout()
        else:
            output = appending(out) if appends else replacing(out, lambda: status.done > 0)
        with interruptible(status), output as stream:
            counted = count(records, status)
            write(render(counted, form, stream, several=several, others=others), stream)
    if out is not None and (status.done or not status.stop_signal):
        info(f"Wrote {out}.")
    if status.failed:
        kind = "clips" if windows is None else "windows"
        info(f"{status.failed} of {status.done} {kind} could not be scored.")
    if status.stop_signal:
        remaining = f"{len(clips) - status.done} of {len(clips)} clips remain"
        info(f"Interrupted: {remaining if windows is None else 'the recording is incomplete'}.")
        raise typer.Exit(128 + status.stop_signal)
    if status.failed:
        raise typer.Exit(1)


def _resume(
    out: Path, work: ScoringWorkload, clips: list[str], transcript: Path | None
) -> list[str]:
    """Return the clips without a record in a JSON lines file."""
    from mmperson.inference.fingerprint import fingerprint
    from mmperson.inference.resume import remaining_clips

    if not out.exists() or not out.stat().st_size:
        return clips
    how = (work.decode, work.provider)
    seen = {clip: fingerprint(work.bundle, clip, transcript, how) for clip in clips}
    remaining = remaining_clips(out, clips, seen)
    if len(remaining) < len(clips):
        info(f"{len(clips) - len(remaining)} of {len(clips)} clips are already in {out}.")
    return remaining


def _check_windows(
    window_s: float | None, step_s: float | None, clips: int, *, uses_workers: bool
) -> None:
    """Check the window flags."""
    from mmperson.media.windows import check_windows

    if window_s is None:
        if step_s is not None:
            raise UsageError("--step needs --windows.", hint="Add --windows SECONDS.")
        return
    check_windows(window_s, window_s if step_s is None else step_s)
    if clips > 1:
        raise UsageError(f"--windows is for one recording; there are {clips}.")
    if uses_workers:
        raise UsageError(
            "--windows scores a recording in this process.",
            hint="Omit --workers, --timeout and --memory.",
        )


def _form_for(out: Path | None) -> Format:
    """Return the default format of a file or of standard output."""
    if out is None:
        return "text" if sys.stdout.isatty() else "json"
    forms: dict[str, Format] = {".jsonl": "jsonl", ".csv": "csv"}
    return forms.get(out.suffix.lower(), "json")


def _worker_limits(
    clips: int, workers: int | None, timeout_s: float | None, memory_mb: float | None
) -> WorkerLimits | None:
    """Return the limits of workers; None to score in this process."""
    from mmperson.pool.worker import limits_memory
    from mmperson.pool.worker_pool import DEFAULT_MEMORY_MB, DEFAULT_TIMEOUT_S, WorkerLimits

    if workers == 0 and (timeout_s is not None or memory_mb is not None):
        raise UsageError("--timeout and --memory need workers, but --workers is 0.")
    if workers == 0 or (clips == 1 and workers is timeout_s is memory_mb is None):
        return None
    if memory_mb is not None and not limits_memory():
        info("This system cannot limit the memory of a process: --memory has no effect.")
    return WorkerLimits(
        workers,
        DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s,
        DEFAULT_MEMORY_MB if memory_mb is None else memory_mb,
    )
