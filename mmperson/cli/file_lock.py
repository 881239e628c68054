"""An exclusive lock on a file of records."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from mmperson.errors import UsageError


class FileLock:
    """A lock on a file; the system releases it when the process ends.

    It locks a temporary file next to ``out``, so that ``out`` can be replaced. On a file system
    without locks it does nothing.

    Args:
        out: The file; on exit, an empty file that did not exist before is removed.

    Raises:
        UsageError: Another process has the lock.
    """

    def __init__(self, out: Path) -> None:
        import filelock  # Deferred: most runs need none.

        self.out = out
        self._is_new = not out.exists()
        target = Path(os.path.realpath(out))  # one lock for a link and its target
        self._lock = filelock.FileLock(target.with_name(f".{target.name}.lock"))
        try:
            self._lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise UsageError(
                f"--out {str(out)!r} is being written by another run.",
                hint="Wait until it ends, or use another file.",
            ) from error
        except OSError:  # the file system has no locks
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            if self._is_new and self.out.stat().st_size == 0:
                self.out.unlink()
        if self._lock.is_locked:
            with suppress(OSError):  # Windows removes it on release
                os.unlink(self._lock.lock_file)
            self._lock.release()
