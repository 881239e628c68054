"""Corpus importers, one module each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mmperson.datasets.manifest import Manifest
from mmperson.datasets.sources.avi import import_avi
from mmperson.datasets.sources.first_impressions import import_first_impressions
from mmperson.datasets.sources.folder import import_folder
from mmperson.datasets.sources.recruitview import import_recruitview
from mmperson.datasets.sources.youtube import import_youtube
from mmperson.errors import UnknownComponent

__all__ = [
    "IMPORTERS",
    "import_avi",
    "import_corpus",
    "import_first_impressions",
    "import_folder",
    "import_recruitview",
    "import_youtube",
]

IMPORTERS: Final[dict[str, Callable[[Path], Manifest]]] = {
    "avi": import_avi,
    "first-impressions": import_first_impressions,
    "folder": import_folder,
    "recruitview": import_recruitview,
    "youtube": import_youtube,
}
"""Importer by corpus name: folder to manifest."""


def import_corpus(name: str, folder: str | Path) -> Manifest:
    """Read a corpus in its published layout.

    Args:
        name: One of ``IMPORTERS``.
        folder: Folder of the corpus.

    Raises:
        UnknownComponent: There is no importer of that name.
        DataError: A file is missing or malformed.
    """
    if name not in IMPORTERS:
        raise UnknownComponent("corpus", name, IMPORTERS)
    return IMPORTERS[name](Path(folder))
