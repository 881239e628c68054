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

    def store(self, clip: str | Path, modality: str, array: npt.NDArray[np.float32]) -> None:
        """Keep an array of a clip's modality; a crash leaves no half-written file."""
        save_array(self._path(clip, modality), array)

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
    with whole(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())
