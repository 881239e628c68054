"""A table per kind of result, with stable columns; ``render`` writes it as one CSV per kind.

Nothing here imports what measures: a page is rendered without torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mmperson.traits import TRAITS

Row = Mapping[str, Any]

FACTS = ("file", "made", "commit", "host", "load")
"""Columns of every table."""


@dataclass(frozen=True)
class Table:
    """How a result becomes rows.

    Attributes:
        columns: Name to place of a value in a row, keys and indices joined by dots.
        rows: Returns the rows of a result.
    """

    columns: Mapping[str, str]
    rows: Callable[[Row], Iterable[Row]]

    def table(self, result: Row) -> list[list[Any]]:
        """Return a line per row: the facts of the result, then the columns; None if missing."""
        facts = [result.get(name) for name in FACTS]
        places = self.columns.values()
        return [[*facts, *(_find(row, place) for place in places)] for row in self.rows(result)]

    def csv(self, results: Iterable[Row]) -> str:
        """Return all results of a kind as one CSV file."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*FACTS, *self.columns))
        for result in results:
            writer.writerows(self.table(result))
        return text.getvalue()


def _find(row: Any, place: str) -> Any:
    for key in place.split("."):
        if isinstance(row, list):
            row = row[int(key)]
        elif isinstance(row, Mapping) and key in row:
            row = row[key]
        else:
            return None
    return row


def _listed(name: str) -> Callable[[Row], Iterable[Row]]:
    """Take the rows from a list."""
    return lambda result: result[name]


def _named(name: str) -> Callable[[Row], Iterable[Row]]:
    """Take the rows from a dictionary, and the key of each as its name; None is no row."""
    return lambda result: [
        {"name": key, **row} for key, row in result[name].items() if row is not None
    ]


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _fuzz_rows(result: Row) -> list[Row]:
    """Leave out what libFuzzer printed: whether it stopped at a finding is enough for a table."""
    return [{**row, "stopped": bool(row["found"])} for row in result["targets"]]


_INTERVALS = {
    name: place
    for column, key in (("one_minus_mae", "accuracy"), ("r2", "r2"), ("pcc", "pcc"), ("ccc", "ccc"))
    for name, place in (
        (column, f"mean.{key}"),
        (f"{column}_low", f"intervals.mean.{key}.0"),
        (f"{column}_high", f"intervals.mean.{key}.1"),
    )
}
_SEEDS = {
    name: place
    for column, key in (("one_minus_mae", "accuracy"), ("r2", "r2"), ("pcc", "pcc"), ("ccc", "ccc"))
    for name, place in ((column, f"mean.{key}"), (f"{column}_sd", f"sd.{key}"))
}
_FUSIONS = Table(
    _same("fusion", "protocol", "n", "parameters")
    | _SEEDS
    | {
        "r2_minus_concat": "minus_concat.mean.r2",
        "r2_minus_concat_low": "minus_concat.intervals.mean.r2.0",
        "r2_minus_concat_high": "minus_concat.intervals.mean.r2.1",
    },
    _listed("rows"),
)
_TEXT_SYSTEMS = Table(
    _same("system", "protocol", "n", "parameters")
    | _SEEDS
    | {
        "r2_minus_plain": "difference.mean.r2",
        "r2_minus_plain_low": "difference.intervals.mean.r2.0",
        "r2_minus_plain_high": "difference.intervals.mean.r2.1",
    },
    _listed("rows"),
)
TABLES = {
    "impressions": Table(
        _same("modalities", "split", "protocol", "n")
        | _INTERVALS
        | {"constant_one_minus_mae": "baselines.constant.accuracy"}
        | {f"{trait}_r2": f"traits.{trait}.r2" for trait in TRAITS},
        _listed("rows"),
    ),
    "impressions-fusions": _FUSIONS,
    "youtube-fusions": _FUSIONS,
    "text-systems": _TEXT_SYSTEMS,
    "prompts": _TEXT_SYSTEMS,
    "questionnaire": _TEXT_SYSTEMS,
    "synthetic": Table(
        {"name": "name", **{f"{trait}_r2": trait for trait in TRAITS}}, _named("r2")
    ),
    "seven-clips": Table(
        _same(
            "name",
            "trained_s",
            "mean_absolute_error",
            "mean_absolute_error_of_their_mean",
            "largest_difference_bundle_network",
        ),
        _named("recipes"),
    ),
    "throughput": Table(
        {
            "model": "bundle.model",
            "p50_s": "single.wall.p50_s",
            "p95_s": "single.wall.p95_s",
            "cpu_s_per_clip": "single.cpu_s_per_clip",
            "one_worker_clips_per_s": "offline.0.clips_per_s",
            "most_workers": "offline.-1.workers",
            "most_workers_clips_per_s": "offline.-1.clips_per_s",
            "server_rate_per_s": "server.rate_per_s",
            "cold_process_s": "cold.process_s",
            "worker_peak_rss_mb": "offline.-1.peak_rss_mb",
            "memory_growth": "drift.growth",
        },
        lambda result: [result],
    ),
    "scaling": Table(
        _same("name", "frames", "sound_s", "cpu_s", "floor_cpu_s", "whole_over_floor")
        | _same("peak_rss_mb"),
        _named("goals"),
    ),
    "decoding": Table(
        _same("clip", "codec", "duration_s", "width", "height")
        | {f"{name}_cpu_ms": f"cpu_ms.{name}" for name in ("demux", "exact", "fast", "key")}
        | {f"{name}_psnr_db": f"{name}.psnr_db_median" for name in ("fast", "key")},
        lambda result: result.get("clips", []),
    ),
    "engines": Table(
        _same("network", "graph", "precision", "provider", "cpu_ms_batch_1", "cpu_ms_batch_8")
        | _same("change_of_scores"),
        _listed("rows"),
    ),
    "training-speed": Table(
        {
            "precision": "precision",
            "device": "device",
            "decoded_clips_per_s": "decoded_clips_per_s",
            "end_to_end_clips_per_s": "end to end.clips_per_s",
            "kept_features_clips_per_s": "kept image features.clips_per_s",
        },
        lambda result: [result],
    ),
    "gpu": Table(
        _same("graph", "clips", "system", "ms", "clips_per_s", "share_of_roofline")
        | _same("relative_error", "refused"),
        _listed("rows"),
    ),
    "gpu-decoding": Table(
        _same("way", "workers", "streams", "clips_per_s", "refused"), _listed("rows")
    ),
    "peers": Table(
        _same("system", "frames", "clip_cpu_s", "import_cpu_s", "build_cpu_s", "peak_rss_mb")
        | _same("over_shipped", "over_equal_frames"),
        _listed("systems"),
    ),
    "mutants": Table(
        _same("mutants", "crashes", "hangs", "foreign", "peak_mb", "cpu_s"),
        lambda result: [result],
    ),
    "fuzz": Table(_same("target", "runs", "edges", "stopped"), _fuzz_rows),
    "mutation": Table(
        {"room": "name"} | _same("drawn", "killed", "timeout", "survived", "killed_share"),
        _named("rooms"),
    ),
    "crash-safety": Table(
        _same("name", "interruptions", "runs", "most_unfinished_files", "orphans")
        | _same("corrupt", "gone", "left", "differences"),
        lambda result: [
            {key: len(value) if isinstance(value, list) else value for key, value in row.items()}
            for row in _named("subjects")(result)
        ],
    ),
}
"""By kind of result; those of ``python -m tests.stress`` come last."""
