"""Files that appear whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmperson.errors import UsageError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a name beside a file to write to, which takes the file's place in the end.

    The name ends in the number of this process: ``sweep`` knows by it what was left by a kill.

    Args:
        path: The file; its folder is there.

    Raises:
        UsageError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(path):
            yield unfinished
            os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let what the system refuses be a ``UsageError`` that names the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror or error}.",
            hint="Make room, or choose another place; the same command goes on from what is there.",
        ) from error


def sweep(folder: Path, name: str = "*") -> None:
    """Take away what processes that have ended left unfinished.

    Args:
        folder: Where to look; nothing within its folders is touched.
        name: Pattern of the names of the files that they wrote.
    """
    for path in folder.glob(f".{name}.*"):
        process = path.suffix[1:]
        if process.isdecimal() and not _is_running(int(process)):
            path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
