"""An exclusive lock on a file of records."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from mmperson.errors import UsageError

_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS))
"""Errors of a file system without locks."""


class FileLock:
    """A lock on a file; the system releases it when the process ends.

    It locks a temporary file next to ``out``, so that ``out`` can be replaced; a killed run leaves
    that file, and the next one removes it. On a file system without locks it does nothing.

    Args:
        out: The file; on exit, an empty file that did not exist before is removed.

    Raises:
        UsageError: Another process has the lock, or the lock file cannot be written.
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
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise UsageError(
                    f"--out {str(out)!r} cannot be locked: {error.strerror or error}.",
                    hint="Use a file in a folder that you may write to, with a shorter name.",
                ) from error

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
