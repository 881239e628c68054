"""Decoded inputs of clips on disk, in a folder that belongs to one input spec."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.files import atomic_write, remove_stale, write_errors
from mmperson.preprocessing.spec import InputSpec

SPEC_FILE = "spec.sha256"
MISSING = ".missing"
"""Suffix of the marker of a missing array; its content is the reason why the clip is unreadable."""

# Header of ``save_array``. numpy's own parser raises many kinds of errors on malformed files.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"(?P<text>){'descr': '(?P<descr>[^']*)', 'fortran_order': (?:False|True), "
    rb"'shape': (?P<shape>\([\d, ]+\)), } *\n",
    re.DOTALL,
)
_LONGEST_HEADER = 512
_TYPES = {b"|u1": np.uint8, b"<f4": np.float32, b"<f2": np.float16}


class FeatureCache:
    """Arrays keyed by clip and modality, for one ``InputSpec``.

    Args:
        folder: Folder of the arrays; created if absent.
        spec: The preprocessing.

    Raises:
        DataError: The folder belongs to another spec.
        UsageError: The folder cannot be written.
    """

    def __init__(self, folder: str | Path, spec: InputSpec) -> None:
        self.folder = Path(folder)
        self._spec = spec
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self.folder)
        marker = self.folder / SPEC_FILE
        if not marker.is_file():
            with atomic_write(marker) as temporary:
                temporary.write_text(spec.hash, encoding="utf-8")
        stored = marker.read_text(encoding="utf-8", errors="replace")
        if stored != spec.hash:
            raise DataError(
                f"The cache {str(self.folder)!r} was made for input spec {stored[:12]}, "
                f"not {spec.hash[:12]}.",
                hint="Use another cache folder, or delete this one.",
            )

    def load(self, clip: str | Path, modality: str) -> npt.NDArray[np.float32] | None:
        """Return the stored array of a clip's modality, None if it is missing or malformed."""
        path = self._path(clip, modality)
        if path is None or not self._is_whole(path, modality):
            return None
        array: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        return array

    def contains(self, clip: str | Path, modality: str) -> bool:
        """Return whether an array of a clip's modality is stored."""
        path = self._path(clip, modality)
        return path is not None and self._is_whole(path, modality)

    def is_recorded(self, clip: str | Path, modality: str) -> bool:
        """Return whether a clip's modality is stored or recorded as missing."""
        return self.contains(clip, modality) or self._note(clip, modality) is not None

    def is_final(self, clip: str | Path, modality: str) -> bool:
        """Return whether a clip's modality is recorded and the clip was readable."""
        return self.contains(clip, modality) or self._note(clip, modality) == ""

    def refusal(self, clip: str | Path, modality: str) -> str | None:
        """Return why a clip is unreadable; None if it is readable or was not tried."""
        try:
            file_identity(clip)
        except OSError as error:
            return f"It cannot be opened: {error.strerror}."
        return None if self.contains(clip, modality) else self._note(clip, modality) or None

    def store(self, clip: str | Path, modality: str, array: npt.NDArray[np.float32]) -> None:
        """Store an array of a clip's modality, see ``write``."""
        self.write(file_identity(clip), {modality: array})

    def store_missing(self, clip: str | Path, modality: str, refusal: str = "") -> None:
        """Record that a clip has no such modality, see ``write``."""
        self.write(file_identity(clip), {modality: None}, refusal)

    def write(
        self,
        identity: str,
        arrays: Mapping[str, npt.NDArray[Any] | None],
        refusal: str = "",
    ) -> None:
        """Store the decoded inputs of a clip, atomically per modality.

        Args:
            identity: ``file_identity`` of the clip from before it was read, so that a replaced file
                does not get the arrays of the old one.
            arrays: Arrays by modality; None if the clip has no such modality or is unreadable.
            refusal: Why the clip is unreadable; empty if it is readable.

        Raises:
            UsageError: The cache cannot be written.
        """
        for modality, array in arrays.items():
            path = self._place(identity, modality)
            if array is not None:
                save_array(path, array)
                continue
            with atomic_write(path.with_suffix(MISSING), durable=False) as temporary:
                temporary.write_text(refusal, encoding="utf-8")

    def _note(self, clip: str | Path, modality: str) -> str | None:
        """Return the content of the marker of a missing array, None without one."""
        path = self._path(clip, modality)
        if path is None:
            return None
        try:
            return path.with_suffix(MISSING).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def _path(self, clip: str | Path, modality: str) -> Path | None:
        """Return the path of a clip's array; None if the clip is missing."""
        try:
            return self._place(file_identity(clip), modality)
        except OSError:
            return None

    def _place(self, identity: str, modality: str) -> Path:
        name = hashlib.sha256(f"{identity}|{modality}".encode()).hexdigest()
        return self.folder / f"{name}.npy"

    def _is_whole(self, path: Path, modality: str) -> bool:
        """Return whether a file has the header and length of a modality's array."""
        header, part = read_header(path), self._spec.parts.get(modality)
        return header is not None and part is not None and part.fits(*header)


def read_header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """Return dtype and shape of a file of ``save_array``; None if it is missing or malformed."""
    try:
        with path.open("rb") as file:
            header = _HEADER.match(file.read(_LONGEST_HEADER))
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    kind = None if header is None else _TYPES.get(header["descr"])
    if header is None or kind is None:
        return None
    dtype = np.dtype(kind)
    shape = tuple(int(number) for number in re.findall(rb"\d+", header["shape"]))
    is_whole = (
        header["shape"] == str(shape).encode()
        and header.end() == int.from_bytes(header["length"], "little") + header.start("text")
        and size == header.end() + dtype.itemsize * prod(shape)
    )
    return (dtype, shape) if is_whole else None


def file_identity(clip: str | Path) -> str:
    """Return path, size and modification time, which identify a version of a file.

    Raises:
        OSError: The file does not exist.
    """
    status = Path(clip).stat()
    return f"{Path(clip).resolve()}|{status.st_size}|{status.st_mtime_ns}"


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as .npy, atomically.

    Raises:
        UsageError: The file cannot be written.
    """
    content = io.BytesIO()  # np.save to a file misses a full disk on the last bytes
    np.save(content, array, allow_pickle=False)
    with atomic_write(path, durable=False) as temporary:  # fsync is slow for thousands of arrays
        temporary.write_bytes(content.getbuffer())
