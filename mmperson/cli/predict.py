"""`mmperson predict`: clips to records."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console
from typer.core import TyperCommand

from mmperson.cli.records import Format, render
from mmperson.errors import UsageError
from mmperson.traits import TRAITS

if TYPE_CHECKING:
    from mmperson.runtime.predictor import Predictor
    from mmperson.schema import Prediction


class Profile(StrEnum):
    """Which frames of a video are decoded, see ``mmperson.media.Decode``."""

    exact = "exact"
    fast = "fast"
    key = "key"


class ClipCommand(TyperCommand):
    """A command whose arguments are file names, which may begin with a dash."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments; an unknown option may have been meant as a clip."""
        try:
            return super().parse_args(ctx, args)
        except _BadCall as error:
            if hasattr(error, "option_name"):
                error.message += " A clip whose name begins with '-' goes behind ' -- '."
            raise


# typer brings its own click since 0.20 or so; this is the base of its errors in either case.
_BadCall: Any = typer.BadParameter.__base__


def predict(
    clips: Annotated[list[str], typer.Argument(metavar="CLIP…", help="Video or audio files.")],
    transcript: Annotated[
        Path | None,
        typer.Option(
            help="What is said: .txt, .srt, .vtt or .json. Without it, the file beside the clip "
            "that has its name. For one clip only."
        ),
    ] = None,
    bundle: Annotated[
        str, typer.Option(help="Weights: a shipped bundle's name, or a folder.")
    ] = "impressions-text-audio",
    decode: Annotated[
        Profile,
        typer.Option(
            help="Which frames of a video are decoded: every one, those that others refer to, or "
            "keyframes alone."
        ),
    ] = Profile.exact,
    windows: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Score windows of this length, in one pass and flat memory; a record each.",
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="From the start of a window to that of the next; without it, they follow each "
            "other.",
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="text is for people and the default on a terminal. json, the default elsewhere, "
            "is one record for one clip and a list for several."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File for the records, not stdout.")] = None,
) -> None:
    """Score clips: apparent Big Five, as observers would rate the person who speaks.

    Exit code 0: every clip was scored. 1: some were not, and their records say why. 130: Ctrl-C;
    the clip in hand was finished, and the records of what was scored are written.
    """
    if transcript is not None and len(clips) > 1:
        raise UsageError(f"--transcript belongs to one clip; {len(clips)} were given.")
    if step is not None and windows is None:
        raise UsageError("--step belongs to --windows.", hint="Give --windows SECONDS.")
    if windows is not None:
        from mmperson.media.spans import check_windows

        check_windows(windows, windows if step is None else step)
    if out is not None:
        _check_out(out, clips, transcript)
    elif sys.stdout is None:
        raise UsageError("Standard output is closed.", hint="Give --out FILE.")
    from mmperson.runtime.predictor import load

    predictor = load(bundle, decode=decode.value)
    form = format or (Format.text if out is None and sys.stdout.isatty() else Format.json)
    others = predictor.bundle.info.targets[len(TRAITS) :]
    tally = _Tally()
    with _interruptible(tally), _stdout() if out is None else _file(out) as stream:
        records = _score(predictor, clips, transcript, (windows, step), tally)
        several = len(clips) > 1 or windows is not None
        _write(render(records, form, stream, several=several, others=others), stream)
    if out is not None:
        _tell(f"Wrote {out}.")
    if tally.failed:
        part = "" if windows is None else " in full"
        _tell(f"{tally.failed} of {tally.done} clips could not be scored{part}.")
    if tally.interrupted:
        _tell(f"Interrupted: {len(clips) - tally.done} of {len(clips)} clips are left.")
        raise typer.Exit(130)
    if tally.failed:
        raise typer.Exit(1)


@dataclass
class _Tally:
    """What became of the clips so far."""

    done: int = 0
    failed: int = 0
    interrupted: bool = False


class _Unwritable(Exception):
    """Records cannot be written; its cause is an ``OSError``."""


def _score(
    predictor: Predictor,
    clips: Sequence[str],
    transcript: Path | None,
    windows: tuple[float | None, float | None],
    tally: _Tally,
) -> Iterator[Prediction]:
    """Yield a record per clip, or per window of it, until Ctrl-C."""
    window_s, step_s = windows
    for clip in clips:
        if tally.interrupted:
            return
        failed = False
        try:
            if window_s is None:
                records = iter([predictor.predict(clip, transcript)])
            else:
                records = predictor.predict_windows(
                    clip, transcript, window_s=window_s, step_s=step_s
                )
            for record in records:
                failed |= record.error is not None
                yield record
                if window_s is not None and tally.interrupted:
                    return
        except KeyboardInterrupt:
            tally.interrupted = True
            return
        tally.done += 1
        tally.failed += failed


def _write(pieces: Iterable[str], stream: TextIO) -> None:
    """Write piece by piece, so that nothing that was scored is held back."""
    for piece in pieces:
        with _writing():
            stream.write(piece)
            stream.flush()


@contextmanager
def _writing() -> Iterator[None]:
    """Tell failures of the output from those of anything else."""
    try:
        yield
    except OSError as error:
        raise _Unwritable from error


@contextmanager
def _interruptible(tally: _Tally) -> Iterator[None]:
    """Let the first Ctrl-C end the run after the clip in hand; the second one ends it at once."""

    def note(number: int, frame: object) -> None:
        if tally.interrupted:
            raise KeyboardInterrupt
        tally.interrupted = True
        _tell("Finishing this clip. Press Ctrl-C again to stop at once.")

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # such as ignored, as nohup asks for
        yield
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _stdout() -> Iterator[TextIO]:
    """Standard output that takes any name; a reader that goes away ends the run quietly."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    try:
        yield sys.stdout
    except _Unwritable as unwritable:
        error = unwritable.__cause__
        _drop_stdout()
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(1) from None
        raise UsageError(
            f"Standard output cannot be written: {error}.", hint="Give --out FILE."
        ) from error


def _drop_stdout() -> None:
    """Send what is still buffered nowhere, as Python would fail on it once more at its end."""
    with suppress(OSError, ValueError):  # no real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _file(out: Path) -> Iterator[TextIO]:
    """Open a file beside ``out`` that takes its place when it is complete."""
    is_special = out.exists() and not out.is_file()  # a pipe or a device has no place to take
    target = Path(os.path.realpath(out))
    unfinished = target.with_name(f".mmperson-{secrets.token_hex(4)}.tmp")
    try:
        with _writing():
            path = out if is_special else unfinished
            file = path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
        with file:
            yield file
        if not is_special:
            with _writing():
                if target.exists():
                    shutil.copymode(target, unfinished)
                os.replace(unfinished, target)
    except BaseException as error:
        if unfinished.exists():
            if unfinished.stat().st_size:
                _tell(f"What was scored so far is in {unfinished}.")
            else:
                unfinished.unlink()
        if isinstance(error, _Unwritable):
            raise UsageError(
                f"--out {str(out)!r} cannot be written: {error.__cause__}.",
                hint="Give a file in a folder that you may write to and that has space.",
            ) from error
        raise


def _check_out(out: Path, clips: Sequence[str], transcript: Path | None) -> None:
    """Refuse what cannot be written, or what would be lost or misread."""
    from mmperson.media.transcript import SUFFIXES

    try:
        out.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(
            f"--out {str(out)!r} cannot be written: {error}.", hint="Give another file."
        ) from error
    if os.path.isdir(out):
        raise UsageError(f"--out {str(out)!r} is a folder.", hint="Give a file in it.")
    if not os.path.isdir(out.parent):
        raise UsageError(f"--out {str(out)!r}: there is no such folder.", hint="Make it first.")
    if os.path.exists(out) and not os.access(out, os.W_OK):
        raise UsageError(f"--out {str(out)!r} may not be written.", hint="Give another file.")
    for given in [*map(Path, clips), transcript]:
        if given is not None and _is_same(out, given):
            raise UsageError(
                f"--out {str(out)!r} is one of the inputs and would be lost.",
                hint="Give another file.",
            )
    for clip in map(Path, clips):
        if any(_is_same(out, clip.parent / f"{clip.stem}{suffix}") for suffix in SUFFIXES):
            raise UsageError(
                f"--out {str(out)!r} has the name of the transcript of {str(clip)!r}, and would be "
                "read as that from then on.",
                hint="Give another file.",
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return os.path.realpath(one) == os.path.realpath(other)


def _tell(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)
