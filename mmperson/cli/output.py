"""Output of records: standard output, an atomically replaced file, or an appended file."""

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
    """Writing records failed; the cause is an ``OSError``."""


def write(pieces: Iterable[str], stream: TextIO) -> None:
    """Write and flush piece by piece."""
    for piece in pieces:
        with _writing():
            stream.write(piece)
            stream.flush()


@contextmanager
def _writing() -> Iterator[None]:
    """Distinguish errors of the output from other errors."""
    try:
        yield
    except OSError as error:
        raise _WriteError from error


@contextmanager
def to_stdout() -> Iterator[TextIO]:
    """Yield standard output that escapes invalid characters; a closed pipe exits quietly."""
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
    """Discard buffered output, on which Python would fail again at exit."""
    with suppress(OSError, ValueError):  # not a real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def replacing(out: Path, has_records: Callable[[], bool] = lambda: True) -> Iterator[TextIO]:
    """Open a temporary file that replaces ``out`` on success.

    Args:
        out: The file.
        has_records: Called at the end; if False, ``out`` is not replaced.
    """
    is_special = out.exists() and not out.is_file()  # a pipe or device cannot be replaced
    target = Path(os.path.realpath(out))
    temporary = temp_path(target.with_name(_RECORDS))
    try:
        with _writing():
            remove_stale(target.parent, _RECORDS)
            file = _open(out if is_special else temporary, "w")
        with _closing(file):
            yield file
        if not is_special:
            with _writing():
                if has_records():
                    replace_file(temporary, target)
                else:
                    temporary.unlink()
    except BaseException as error:
        if temporary.exists():
            if temporary.stat().st_size and has_records():
                info(f"The records so far are in {_keep_temporary(temporary)}.")
            else:
                temporary.unlink()
        if isinstance(error, _WriteError):
            raise _usage_error(out, error) from error
        raise


@contextmanager
def appending(out: Path) -> Iterator[TextIO]:
    """Open a file for appending lines; on an error, remove a partial last line."""
    try:
        with _writing():
            file = _open(out, "a")
        with _closing(file):
            yield file
    except _WriteError as error:
        with suppress(OSError):
            _truncate_partial_line(out)
        if out.exists() and out.stat().st_size:
            info(f"The records so far are in {out}. Rerun the command to resume.")
        raise _usage_error(out, error) from error


@contextmanager
def _closing(file: TextIO) -> Iterator[None]:
    """Close a file; ignore errors of closing after another error."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            file.close()
        raise
    with _writing():
        file.close()


def _truncate_partial_line(out: Path) -> None:
    """Truncate a file after its last complete line."""
    with out.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - (1 << 20)))
        tail = file.read()
        file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)


def _keep_temporary(temporary: Path) -> Path:
    """Rename a temporary file so that later runs do not remove it."""
    permanent = temporary.with_name(f".mmperson-{secrets.token_hex(4)}.tmp")
    try:
        return temporary.rename(permanent)
    except OSError:
        return temporary


def _open(path: Path, mode: Literal["a", "w"]) -> TextIO:
    return path.open(mode, encoding="utf-8", errors="backslashreplace", newline="\n")


def _usage_error(out: Path, error: _WriteError) -> UsageError:
    return UsageError(
        f"--out {str(out)!r} cannot be written: {error.__cause__}.",
        hint="Use a writable folder with free space.",
    )


def check_output_path(out: Path, clips: Sequence[str], transcript: Path | None) -> None:
    """Check that ``out`` is writable, and neither an input nor the transcript of a clip.

    Raises:
        UsageError: It is not.
    """
    from mmperson.media.transcripts.transcript import SUFFIXES

    try:
        out.stat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(
            f"--out {str(out)!r} cannot be written: {error}.", hint="Use another file."
        ) from error
    if os.path.isdir(out):
        raise UsageError(f"--out {str(out)!r} is a folder.", hint="Use a file in it.")
    if not os.path.isdir(out.parent):
        raise UsageError(f"--out {str(out)!r}: there is no such folder.", hint="Create it first.")
    if os.path.exists(out) and not os.access(out, os.W_OK):
        raise UsageError(f"--out {str(out)!r} is not writable.", hint="Use another file.")
    for path in [*map(Path, clips), transcript]:
        if path is not None and _is_same(out, path):
            raise UsageError(
                f"--out {str(out)!r} is one of the inputs and would be lost.",
                hint="Use another file.",
            )
    for clip in map(Path, clips):
        if any(_is_same(out, clip.parent / f"{clip.stem}{suffix}") for suffix in SUFFIXES):
            raise UsageError(
                f"--out {str(out)!r} would be read as the transcript of {str(clip)!r}.",
                hint="Use another file.",
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)


def info(message: str) -> None:
    """Print a message to stderr; ignore a closed terminal."""
    with suppress(OSError):
        stderr_console().print(message, markup=False)
