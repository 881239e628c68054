"""The right to add to a file of records, which one run at a time has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from mmperson.errors import UsageError


class FileLock:
    """A lock on a file, which the system releases whatever ends this process.

    The lock is on a file beside it, so that the file itself may be replaced; it goes in the end. A
    file system without locks gives none.

    Args:
        out: The file. It goes in the end if it was not there before and is empty.

    Attributes:
        out: The file.

    Raises:
        UsageError: Another run has it.
    """

    def __init__(self, out: Path) -> None:
        import filelock  # Here: most runs need none.

        self.out = out
        self._is_new = not out.exists()
        target = Path(os.path.realpath(out))  # a link and its file are one
        self._lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise UsageError(
                f"--out {str(out)!r} is being written by another run.",
                hint="Wait until that one has ended, or give another file.",
            ) from error
        except OSError:  # no locks here
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._is_new and self.out.stat().st_size == 0:
                self.out.unlink()
        if self._lock.is_locked:
            with suppress(OSError):  # Windows, where releasing it removes it
                os.unlink(self._lock.lock_file)
            self._lock.release()
