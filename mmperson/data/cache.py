"""Prepared features on disk, one file a clip, in a folder that belongs to one input spec."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.files import sweep, whole, writing
from mmperson.inputs.spec import InputSpec

SPEC_FILE = "spec.sha256"
MISSING = ".missing"
"""Ending of what stands in for an array that there is not: why the clip cannot be read, if so."""


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
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            sweep(self.folder)
        marker = self.folder / SPEC_FILE
        if not marker.is_file():
            with whole(marker) as unfinished:
                unfinished.write_text(spec.hash, encoding="utf-8")
        found = marker.read_text(encoding="utf-8")
        if found != spec.hash:
            raise DataError(
                f"The cache {str(self.folder)!r} was made for input spec {found[:12]}, "
                f"not {spec.hash[:12]}.",
                hint="Give another cache folder, or delete this one.",
            )

    def load(self, clip: str | Path, modality: str) -> npt.NDArray[np.float32] | None:
        """Return the stored array of a clip's modality, or None if there is none."""
        path = self._path(clip, modality)
        if not path.is_file():
            return None
        array: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
        return array

    def holds(self, clip: str | Path, modality: str) -> bool:
        """Return whether there is an array of a clip's modality."""
        return self._path(clip, modality).is_file()

    def knows(self, clip: str | Path, modality: str) -> bool:
        """Return whether the clip was read: its modality is stored, or noted as missing."""
        path = self._path(clip, modality)
        return path.is_file() or path.with_suffix(MISSING).is_file()

    def is_settled(self, clip: str | Path, modality: str) -> bool:
        """Return whether reading the clip again would find nothing else: it was no refusal."""
        path = self._path(clip, modality)
        note = path.with_suffix(MISSING)
        return path.is_file() or (note.is_file() and note.stat().st_size == 0)

    def refusal(self, clip: str | Path, modality: str) -> str | None:
        """Return why the clip could not be read; None if it could, or was not tried."""
        path = self._path(clip, modality)
        note = path.with_suffix(MISSING)
        if path.is_file() or not note.is_file():
            return None
        return note.read_text(encoding="utf-8") or None

    def store(self, clip: str | Path, modality: str, array: npt.NDArray[np.float32]) -> None:
        """Keep an array of a clip's modality; a crash leaves no half-written file."""
        save_array(self._path(clip, modality), array)

    def miss(self, clip: str | Path, modality: str, refusal: str = "") -> None:
        """Note that there is no array: the clip has no such modality, or cannot be read.

        Args:
            clip: The clip.
            modality: The modality.
            refusal: Why it cannot be read; nothing if it can.
        """
        with whole(self._path(clip, modality).with_suffix(MISSING), durable=False) as unfinished:
            unfinished.write_text(refusal, encoding="utf-8")

    def _path(self, clip: str | Path, modality: str) -> Path:
        # A clip that was replaced by another file of the same name has another size or time.
        status = Path(clip).stat()
        identity = f"{Path(clip).resolve()}|{status.st_size}|{status.st_mtime_ns}|{modality}"
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.npy"


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as .npy, whole or not at all.

    Raises:
        UsageError: It cannot be written.
    """
    content = io.BytesIO()  # numpy does not notice when the end of a small file finds no room
    np.save(content, array, allow_pickle=False)
    with whole(path, durable=False) as unfinished:  # for thousands of arrays, that would cost much
        unfinished.write_bytes(content.getbuffer())
