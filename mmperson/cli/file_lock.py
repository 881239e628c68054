"""The right to add to a file of records, which one run at a time has."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from mmperson.errors import UsageError


class FileLock:
    """A lock on a file itself, which the system releases whatever ends this process.

    There is no second file to be left behind. A file that is to take its place is locked before it
    does, so that whoever opens the name finds a lock at every moment. A file system without locks
    gives none.

    Args:
        out: The file. It is made if there is none, and goes again if it is empty in the end.

    Attributes:
        out: The file.

    Raises:
        UsageError: Another run has it.
        OSError: It cannot be opened.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._is_new = not out.exists()
        self._files = [_locked(out)]

    def move(self, source: Path) -> None:
        """Lock a file that is to take the place of this one, too."""
        self._files.append(_locked(source))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._is_new and self.out.stat().st_size == 0:
                self.out.unlink()
        for file in self._files:
            file.close()


def _locked(path: Path) -> BinaryIO:
    """Open and lock a file; once more if it has been replaced meanwhile."""
    while True:
        file = path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise UsageError(
                f"--out {str(path)!r} is being written by another run.",
                hint="Wait until that one has ended, or give another file.",
            ) from error
        except OSError:  # no locks here
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
