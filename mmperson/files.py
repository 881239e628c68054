"""Atomic writes and temporary files that survive crashes."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

from mmperson.errors import UsageError

_TEMP_NAME: Final = re.compile(r"\.([0-9a-f]{8})-([0-9]+)", re.ASCII)
_TEMP_FOLDER: Final = re.compile(r"mmperson-([0-9a-f]{8})-([0-9]+)-\w+", re.ASCII)
_STALE_AFTER_S: Final = 7 * 86400.0
"""Age at which temporary files of other hosts are removed."""


def temp_path(path: Path) -> Path:
    """Return the temporary name of a file that this process writes.

    It ends in host and process id, by which ``remove_stale`` recognizes files of killed processes.
    """
    return path.with_name(f".{path.name}.{_host_id()}-{os.getpid()}")


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path, which replaces the file on success.

    Args:
        path: The file; its folder must exist.
        durable: Whether to fsync, so that a power failure leaves no empty file.

    Raises:
        UsageError: The file cannot be written.
    """
    temporary = temp_path(path)
    try:
        with write_errors(path):
            yield temporary
            if durable:
                fsync(temporary)
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_folder(out: Path, files: Mapping[str, bytes], check: Callable[[Path], None]) -> None:
    """Write a folder atomically.

    Args:
        out: The folder; an existing one is replaced.
        files: Contents by name.
        check: Called just before the replacement; raises if the existing folder must stay.

    Raises:
        OSError: The folder cannot be written; an existing one stays.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
        check(out)
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(temporary)


def replace_file(source: Path, target: Path) -> None:
    """Replace a file by another one, durably, and keep its permissions.

    Raises:
        OSError: The file cannot be synced or moved.
    """
    fsync(source)
    if target.exists():
        shutil.copymode(target, source)
    os.replace(source, target)


def fsync(path: Path) -> None:
    """Flush a file to disk.

    Raises:
        OSError: It cannot be written.
    """
    with path.open("rb+") as file:  # Windows needs write access
        os.fsync(file.fileno())


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Convert an ``OSError`` to a ``UsageError`` that names the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror or error}.",
            hint="Free disk space or use another folder, then rerun the command to resume.",
        ) from error


def remove_stale(folder: Path, name: str = "*") -> None:
    """Remove temporary files of processes that have ended.

    Files of other hosts and containers stay until they are a week old.

    Args:
        folder: The folder, without its subfolders.
        name: Pattern of the final file names.
    """
    for path in folder.glob(f".{name}.*"):
        with suppress(FileNotFoundError):  # another process removed it
            if _is_stale(path, _TEMP_NAME.fullmatch(path.suffix)):
                path.unlink()


@contextmanager
def temp_folder() -> Iterator[Path]:
    """Yield a temporary folder; also remove those of killed processes."""
    for path in Path(tempfile.gettempdir()).glob("mmperson-*"):
        with suppress(OSError):  # another process removed it
            is_mine = path.lstat().st_uid == _user_id()
            if is_mine and _is_stale(path, _TEMP_FOLDER.fullmatch(path.name)):
                shutil.rmtree(path)  # does not follow links
    with tempfile.TemporaryDirectory(prefix=f"mmperson-{_host_id()}-{os.getpid()}-") as folder:
        yield Path(folder)


def _is_stale(path: Path, mark: re.Match[str] | None) -> bool:
    """Return whether a temporary path, matched by host and process id, has no living owner."""
    if mark is None:
        return False
    # On Windows os.kill(process, 0) would send Ctrl-C, so only the age counts.
    if mark[1] == _host_id() and os.name == "posix":
        return not _is_running(int(mark[2]))
    return path.lstat().st_mtime < time.time() - _STALE_AFTER_S


@cache
def _host_id() -> str:
    """Return an id of the process namespace: the machine, or a container on it."""
    machine = platform.node()
    with suppress(OSError):  # Linux only
        machine += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(machine.encode()):08x}"


def _user_id() -> int:
    """Return the user id, 0 on Windows."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
