"""Corpora: importers, the manifest of labelled clips, checks and statistics.

Only ``dataset`` needs torch; import it by its full name.
"""

from mmperson.datasets.checks import Finding, Report, check_manifest
from mmperson.datasets.manifest import SPLITS, Manifest, read_manifest, write_manifest
from mmperson.datasets.pickles import read_labels, read_texts
from mmperson.datasets.sources import IMPORTERS, import_corpus
from mmperson.datasets.stats import Stats, compute_stats

__all__ = [
    "IMPORTERS",
    "SPLITS",
    "Finding",
    "Manifest",
    "Report",
    "Stats",
    "check_manifest",
    "compute_stats",
    "import_corpus",
    "read_labels",
    "read_manifest",
    "read_texts",
    "write_manifest",
]
