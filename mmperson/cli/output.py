"""Where records go: standard output, a file that is replaced, or a file of lines that grows."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO

import typer
from rich.console import Console

from mmperson.cli.file_lock import FileLock
from mmperson.errors import UsageError
from mmperson.files import fsync, remove_stale, temp_path

if TYPE_CHECKING:
    from mmperson.schema import Prediction


_SETTLED: Final = "mmperson-settled"
_RECORDS: Final = "mmperson-records"


class _Unwritable(Exception):
    """Records cannot be written; its cause is an ``OSError``."""


def write(pieces: Iterable[str], stream: TextIO) -> None:
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
def to_stdout() -> Iterator[TextIO]:
    """Standard output that takes any name; a reader that goes away ends the run quietly."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    try:
        yield sys.stdout
    except _Unwritable as unwritable:
        error = unwritable.__cause__
        drop_stdout()
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(1) from None
        raise UsageError(
            f"Standard output cannot be written: {error}.", hint="Give --out FILE."
        ) from error


def drop_stdout() -> None:
    """Send what is still buffered nowhere, as Python would fail on it once more at its end."""
    with suppress(OSError, ValueError):  # no real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def replacing(out: Path, has_some: Callable[[], bool] = lambda: True) -> Iterator[TextIO]:
    """Open a file beside ``out`` that takes its place when it is complete.

    Args:
        out: The file.
        has_some: Says in the end whether anything is in it that is worth an earlier file's place.
    """
    is_special = out.exists() and not out.is_file()  # a pipe or a device has no place to take
    target = Path(os.path.realpath(out))
    unfinished = temp_path(target.with_name(_RECORDS))
    try:
        with _writing():
            remove_stale(target.parent, _RECORDS)
            file = _open(out if is_special else unfinished, "w")
        with _closing(file):
            yield file
        if not is_special:
            with _writing():
                if has_some():
                    _replace(unfinished, target)
                else:
                    unfinished.unlink()
    except BaseException as error:
        if unfinished.exists():
            if unfinished.stat().st_size and has_some():
                info(f"What was scored so far is in {_unswept(unfinished)}.")
            else:
                unfinished.unlink()
        if isinstance(error, _Unwritable):
            raise _refusal(out, error) from error
        raise


@contextmanager
def appending(out: Path) -> Iterator[TextIO]:
    """Open a file of lines at its end; a line that cannot be written whole is taken back."""
    try:
        with _writing():
            file = _open(out, "a")
        with _closing(file):
            yield file
    except _Unwritable as error:
        with suppress(OSError):
            _cut_torn_line(out)
        if out.exists() and out.stat().st_size:
            info(f"What was scored so far is in {out}. The same command goes on from there.")
        raise _refusal(out, error) from error


@contextmanager
def locked(out: Path) -> Iterator[FileLock]:
    """Lock a file of lines, which no other run may add to meanwhile.

    Raises:
        UsageError: Another run does, or it cannot be opened.
    """
    try:
        with _writing():
            lock = FileLock(out)
    except _Unwritable as error:
        raise _refusal(out, error) from error
    with lock:
        yield lock


def resume(lock: FileLock, clips: Sequence[str], wanted: Mapping[str, str | None]) -> list[str]:
    """Make a file of records ready to grow, and return the clips that are still to be scored.

    Dropped are a last line that was torn, and the records of those clips that failed or were made
    from something else; all others stay.

    Args:
        lock: Holds the file of JSON lines.
        clips: The clips of this run, as they were named.
        wanted: Fingerprint of each clip.

    Raises:
        UsageError: The file holds something else than records, or cannot be rewritten.
    """
    left = dict.fromkeys(clips, 0)
    for clip in clips:
        left[clip] += 1
    out = lock.out
    target = Path(os.path.realpath(out))
    unfinished = temp_path(target.with_name(_SETTLED))
    try:
        remove_stale(target.parent, _SETTLED)
        with _writing(), target.open("rb") as lines, unfinished.open("wb") as kept:
            for line in lines:
                record = _parse(line, out)
                if record is None:
                    continue
                if record.clip in left:
                    stands = record.error is None and record.fingerprint == wanted[record.clip]
                    if not stands or not record.fingerprint or not left[record.clip]:
                        continue
                    left[record.clip] -= 1
                kept.write(line)
        with _writing():
            if unfinished.stat().st_size != target.stat().st_size:
                _replace(unfinished, target)
    except _Unwritable as error:
        raise _refusal(out, error) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return _remaining(clips, left)


def _remaining(clips: Sequence[str], left: dict[str, int]) -> list[str]:
    """Return each clip as often as it is left, in their order."""
    remaining = []
    for clip in clips:
        if left[clip]:
            left[clip] -= 1
            remaining.append(clip)
    return remaining


def _parse(line: bytes, out: Path) -> Prediction | None:
    """Return the record of a line; None for a torn one, which can only be the last."""
    if not line.endswith(b"\n"):
        return None
    from mmperson.schema import Prediction

    try:
        return Prediction.model_validate(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"--out {str(out)!r} holds something else than records of mmperson.",
            hint="Give another file.",
        ) from error


@contextmanager
def _closing(file: TextIO) -> Iterator[None]:
    """Close a file; what fails then is no news if something has failed before."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    with _writing():
        file.close()


def _cut_torn_line(out: Path) -> None:
    """Shorten a file to its last whole line."""
    with out.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - (1 << 20)))
        tail = file.read()
        file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)


def _unswept(unfinished: Path) -> Path:
    """Give a file that people are told of a name that no later run sweeps away."""
    kept = unfinished.with_name(f".mmperson-{secrets.token_hex(4)}.tmp")
    try:
        return unfinished.rename(kept)
    except OSError:
        return unfinished


def _open(path: Path, mode: Literal["a", "w"]) -> TextIO:
    return path.open(mode, encoding="utf-8", errors="backslashreplace", newline="\n")


def _replace(source: Path, target: Path) -> None:
    """Let a file take the place of another one, and its permissions."""
    fsync(source)
    if target.exists():
        shutil.copymode(target, source)
    os.replace(source, target)


def _refusal(out: Path, error: _Unwritable) -> UsageError:
    return UsageError(
        f"--out {str(out)!r} cannot be written: {error.__cause__}.",
        hint="Give a file in a folder that you may write to and that has space.",
    )


def check_out(out: Path, clips: Sequence[str], transcript: Path | None) -> None:
    """Refuse what cannot be written, or what would be lost or misread."""
    from mmperson.media.transcripts.transcript import SUFFIXES

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


def info(message: str) -> None:
    """Print a line for people, unless their terminal has gone."""
    with suppress(OSError):
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)
