"""Where records go: standard output, a file that is replaced, or a file of lines that grows."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TextIO

import typer

from mmperson.cli.terminal import stderr_console
from mmperson.errors import UsageError
from mmperson.files import remove_stale, replace_file, temp_path

_RECORDS: Final = "mmperson-records"


class _WriteError(Exception):
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
        raise _WriteError from error


@contextmanager
def to_stdout() -> Iterator[TextIO]:
    """Standard output that takes any name; a reader that goes away ends the run quietly."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    try:
        yield sys.stdout
    except _WriteError as unwritable:
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
def replacing(out: Path, has_records: Callable[[], bool] = lambda: True) -> Iterator[TextIO]:
    """Open a file beside ``out`` that takes its place when it is complete.

    Args:
        out: The file.
        has_records: Whether, in the end, anything is in it that is worth an earlier file's place.
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
                if has_records():
                    replace_file(unfinished, target)
                else:
                    unfinished.unlink()
    except BaseException as error:
        if unfinished.exists():
            if unfinished.stat().st_size and has_records():
                info(f"What was scored so far is in {_keep_unfinished(unfinished)}.")
            else:
                unfinished.unlink()
        if isinstance(error, _WriteError):
            raise _usage_error(out, error) from error
        raise


@contextmanager
def appending(out: Path) -> Iterator[TextIO]:
    """Open a file of lines at its end; a line that cannot be written whole is taken back."""
    try:
        with _writing():
            file = _open(out, "a")
        with _closing(file):
            yield file
    except _WriteError as error:
        with suppress(OSError):
            _cut_torn_line(out)
        if out.exists() and out.stat().st_size:
            info(f"What was scored so far is in {out}. The same command goes on from there.")
        raise _usage_error(out, error) from error


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


def _keep_unfinished(unfinished: Path) -> Path:
    """Give a file that people are told of a name that no later run sweeps away."""
    kept = unfinished.with_name(f".mmperson-{secrets.token_hex(4)}.tmp")
    try:
        return unfinished.rename(kept)
    except OSError:
        return unfinished


def _open(path: Path, mode: Literal["a", "w"]) -> TextIO:
    return path.open(mode, encoding="utf-8", errors="backslashreplace", newline="\n")


def _usage_error(out: Path, error: _WriteError) -> UsageError:
    return UsageError(
        f"--out {str(out)!r} cannot be written: {error.__cause__}.",
        hint="Give a file in a folder that you may write to and that has space.",
    )


def check_output_path(out: Path, clips: Sequence[str], transcript: Path | None) -> None:
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
        stderr_console().print(message, markup=False)
