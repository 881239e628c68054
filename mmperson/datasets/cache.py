"""Prepared features on disk, one file a clip, in a folder that belongs to one input spec."""

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
"""Ending of what stands in for an array that there is not: why the clip cannot be read, if so."""

# Of what ``save_array`` writes. numpy's own parser meets damage with errors of every kind.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"(?P<text>){'descr': '(?P<descr>[^']*)', 'fortran_order': (?:False|True), "
    rb"'shape': (?P<shape>\([\d, ]+\)), } *\n",
    re.DOTALL,
)
_LONGEST_HEADER = 512
_TYPES = {b"|u1": np.uint8, b"<f4": np.float32, b"<f2": np.float16}


class FeatureCache:
    """Arrays keyed by clip, valid for one ``InputSpec`` only.

    Args:
        folder: Where the arrays lie; made if absent.
        spec: The preprocessing that makes them.

    Raises:
        DataError: The folder belongs to another spec.
        UsageError: It cannot be written.
    """

    def __init__(self, folder: str | Path, spec: InputSpec) -> None:
        self.folder = Path(folder)
        self._spec = spec
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_stale(self.folder)
        marker = self.folder / SPEC_FILE
        if not marker.is_file():
            with atomic_write(marker) as unfinished:
                unfinished.write_text(spec.hash, encoding="utf-8")
        found = marker.read_text(encoding="utf-8", errors="replace")
        if found != spec.hash:
            raise DataError(
                f"The cache {str(self.folder)!r} was made for input spec {found[:12]}, "
                f"not {spec.hash[:12]}.",
                hint="Give another cache folder, or delete this one.",
            )

    def load(self, clip: str | Path, modality: str) -> npt.NDArray[np.float32] | None:
        """Return the stored array of a clip's modality; None if there is none, or it is damaged."""
        path = self._path(clip, modality)
        if path is None or not self._is_whole(path, modality):
            return None
        array: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        return array

    def contains(self, clip: str | Path, modality: str) -> bool:
        """Return whether there is an array of a clip's modality."""
        path = self._path(clip, modality)
        return path is not None and self._is_whole(path, modality)

    def is_recorded(self, clip: str | Path, modality: str) -> bool:
        """Return whether the clip was read: its modality is stored, or noted as missing."""
        return self.contains(clip, modality) or self._note(clip, modality) is not None

    def is_final(self, clip: str | Path, modality: str) -> bool:
        """Return whether reading the clip again would find nothing else: it was no refusal."""
        return self.contains(clip, modality) or self._note(clip, modality) == ""

    def refusal(self, clip: str | Path, modality: str) -> str | None:
        """Return why the clip could not be read; None if it could, or was not tried."""
        try:
            file_identity(clip)
        except OSError as error:
            return f"It cannot be opened: {error.strerror}."
        return None if self.contains(clip, modality) else self._note(clip, modality) or None

    def store(self, clip: str | Path, modality: str, array: npt.NDArray[np.float32]) -> None:
        """Keep an array of a clip's modality, see ``write``."""
        self.write(file_identity(clip), {modality: array})

    def store_missing(self, clip: str | Path, modality: str, refusal: str = "") -> None:
        """Note that there is no array of a clip's modality, see ``write``."""
        self.write(file_identity(clip), {modality: None}, refusal)

    def write(
        self,
        identity: str,
        arrays: Mapping[str, npt.NDArray[Any] | None],
        refusal: str = "",
    ) -> None:
        """Keep what was read of a clip; a crash leaves no half-written file.

        Args:
            identity: Of the clip, from before it was read: what was read of a file that has been
                replaced meanwhile is not taken for what the other file has.
            arrays: Arrays by modality; None notes that the clip has no such modality, or cannot be
                read.
            refusal: Why it cannot be read; nothing if it can.

        Raises:
            UsageError: The cache cannot be written.
        """
        for modality, array in arrays.items():
            path = self._place(identity, modality)
            if array is not None:
                save_array(path, array)
                continue
            with atomic_write(path.with_suffix(MISSING), durable=False) as unfinished:
                unfinished.write_text(refusal, encoding="utf-8")

    def _note(self, clip: str | Path, modality: str) -> str | None:
        """Return what is noted instead of an array, None if nothing is."""
        path = self._path(clip, modality)
        if path is None:
            return None
        try:
            return path.with_suffix(MISSING).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def _path(self, clip: str | Path, modality: str) -> Path | None:
        """Return where the array of a clip lies; None if the clip has gone."""
        try:
            return self._place(file_identity(clip), modality)
        except OSError:
            return None

    def _place(self, identity: str, modality: str) -> Path:
        name = hashlib.sha256(f"{identity}|{modality}".encode()).hexdigest()
        return self.folder / f"{name}.npy"

    def _is_whole(self, path: Path, modality: str) -> bool:
        """Return whether a file holds an array of a modality, as far as header and length tell."""
        found = read_header(path)
        if found is None:
            return False
        part = self._spec.parts.get(modality)
        return part is not None and part.fits(*found)


def read_header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
    """Return type and shape of an array that ``save_array`` wrote, as header and length tell.

    None if there is no such file, or it is damaged.
    """
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
    """Return what tells a clip from another file, also of the same name.

    Raises:
        OSError: There is no such file.
    """
    # A clip that was replaced by another file of the same name has another size or time.
    status = Path(clip).stat()
    return f"{Path(clip).resolve()}|{status.st_size}|{status.st_mtime_ns}"


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as .npy, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    content = io.BytesIO()  # numpy does not notice when the end of a small file finds no room
    np.save(content, array, allow_pickle=False)
    with atomic_write(
        path, durable=False
    ) as unfinished:  # for thousands of arrays, that would cost much
        unfinished.write_bytes(content.getbuffer())
