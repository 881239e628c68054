"""Prepared features on disk, one file a clip, in a folder that belongs to one input spec."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmperson.errors import DataError
from mmperson.inputs.spec import InputSpec

SPEC_FILE = "spec.sha256"


class FeatureCache:
    """Arrays keyed by clip, valid for one ``InputSpec`` only.

    Args:
        folder: Where the arrays lie; made if absent.
        spec: The preprocessing that makes them.

    Raises:
        DataError: The folder belongs to another spec.
    """

    def __init__(self, folder: str | Path, spec: InputSpec) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        marker = self.folder / SPEC_FILE
        if not marker.is_file():
            _write_whole(marker, spec.hash.encode())
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
        path = self._path(clip, modality)
        unfinished = path.with_name(f".{os.getpid()}-{path.name}")
        np.save(unfinished, array, allow_pickle=False)
        os.replace(unfinished, path)

    def _path(self, clip: str | Path, modality: str) -> Path:
        # A clip that was replaced by another file of the same name has another size or time.
        status = Path(clip).stat()
        identity = f"{Path(clip).resolve()}|{status.st_size}|{status.st_mtime_ns}|{modality}"
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.npy"


def _write_whole(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
