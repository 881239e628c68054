"""Files that appear whole or not at all, whatever ends the process that writes them."""

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
"""Age at which what a process of elsewhere left is taken away, untouched for so long."""


def temp_path(path: Path) -> Path:
    """Return the name under which this process writes a file until it is whole.

    It ends in the host's id and the process id, by which ``remove_stale`` finds what a kill left.
    """
    return path.with_name(f".{path.name}.{_host_id()}-{os.getpid()}")


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a name beside a file to write to, which takes the file's place in the end.

    Args:
        path: The file; its folder is there.
        durable: Whether it is on the disk before it takes the place, so that a power cut leaves no
            empty file; False for one of many whose loss costs little.

    Raises:
        UsageError: It cannot be written.
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
    """Write a folder beside its place and move it there, so that no half of it is ever seen.

    Args:
        out: The folder; one that is there is replaced.
        files: Contents by name.
        check: Raises if the folder that is there must stay; called just before it is replaced.

    Raises:
        OSError: It cannot be written; a folder that was there stays.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    new, old = beside / "new", beside / "old"
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
        shutil.rmtree(beside)


def replace_file(source: Path, target: Path) -> None:
    """Let a file take the place of another one, and its permissions.

    Raises:
        OSError: It cannot be written to the disk, or moved.
    """
    fsync(source)
    if target.exists():
        shutil.copymode(target, source)
    os.replace(source, target)


def fsync(path: Path) -> None:
    """Have the system write a file to the disk.

    Raises:
        OSError: It cannot be written there.
    """
    with path.open("rb+") as file:  # Windows does this only for a file that may be written
        os.fsync(file.fileno())


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Let what the system refuses be a ``UsageError`` that names the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} cannot be written: {error.strerror or error}.",
            hint="Make room, or choose another place; the same command goes on from what is there.",
        ) from error


def remove_stale(folder: Path, name: str = "*") -> None:
    """Take away what processes that have ended left temporary.

    Whether a process of another machine or container still runs is not known here: its files stay
    until they are a week old.

    Args:
        folder: Where to look; nothing within its folders is touched.
        name: Pattern of the names of the files that they wrote.
    """
    for path in folder.glob(f".{name}.*"):
        with suppress(FileNotFoundError):  # another process has been faster
            if _is_stale(path, _TEMP_NAME.fullmatch(path.suffix)):
                path.unlink()


@contextmanager
def temp_folder() -> Iterator[Path]:
    """Give a folder for what is not to stay; what a kill left of an earlier one is taken away."""
    for path in Path(tempfile.gettempdir()).glob("mmperson-*"):
        with suppress(OSError):  # another process has been faster
            is_mine = path.lstat().st_uid == _user_id()
            if is_mine and _is_stale(path, _TEMP_FOLDER.fullmatch(path.name)):
                shutil.rmtree(path)  # which follows no link
    with tempfile.TemporaryDirectory(prefix=f"mmperson-{_host_id()}-{os.getpid()}-") as folder:
        yield Path(folder)


def _is_stale(path: Path, mark: re.Match[str] | None) -> bool:
    """Return whether what has this mark, of a place and a process, was left by a kill.

    Raises:
        OSError: It has gone.
    """
    if mark is None:
        return False
    # On Windows, os.kill(process, 0) would send Ctrl-C: what was left there stays until it is old.
    if mark[1] == _host_id() and os.name == "posix":
        return not _is_running(int(mark[2]))
    return path.lstat().st_mtime < time.time() - _STALE_AFTER_S


@cache
def _host_id() -> str:
    """Name the set of processes that have numbers of their own: a machine, or a container on it."""
    machine = platform.node()
    with suppress(OSError):  # Linux has it
        machine += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(machine.encode()):08x}"


def _user_id() -> int:
    """Return the owner's number, which is always 0 on Windows."""
    return os.getuid() if hasattr(os, "getuid") else 0


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
