"""Markdown tables of quality."""

from __future__ import annotations

from typing import Any

from mmperson.traits import TRAITS

Result = dict[str, Any]
METRICS = {"accuracy": "1-MAE", "r2": "R²", "pcc": "PCC", "ccc": "CCC"}
"""Keys in results, and what readers know them by."""


def source(result: Result) -> str:
    """Return which file figures are from, linked from a page in ``docs/results``."""
    file = result["file"]
    return (
        f"[{file}](../../benchmarks/results/{file}), made by `{result['command']}` at commit "
        f"{result['commit']}"
    )


def impressions_summary(result: Result) -> str:
    """Return the README's table: a bundle on First Impressions V2."""
    lines = [
        "| reads | rows | n | 1-MAE | R² | PCC | CCC | constant |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        constant = row["baselines"]["constant"]["accuracy"]
        figures = " | ".join(_with_interval(row, metric) for metric in METRICS)
        lines.append(f"| {_head(row)} | {row['n']:,} | {figures} | {constant:.4f} |")
    file = result["file"]
    return "\n".join([*lines, "", f"From [{file}](benchmarks/results/{file})."])


def impressions_context(result: Result) -> str:
    """Return what other systems reach on the same rows, and the look-up by source video."""
    lines = ["| reads | rows | 1-MAE | others on the same rows |", "|---|---|---|---|"]
    lines += [
        f"| {_head(row)} | {_with_interval(row, 'accuracy')} | {row['beside']} |"
        for row in result["rows"]
        if row["beside"]
    ]
    looked_up = {
        (row["split"], row["n"]): row["baselines"]["source_lookup"]
        for row in result["rows"]
        if "source_lookup" in row["baselines"]
    }
    figures = " and ".join(
        f"{value['accuracy']:.4f} / {value['r2']:.3f} / {value['pcc']:.3f} on the {n:,} scored "
        f"rows of {split}"
        for (split, n), value in looked_up.items()
    )
    differences = [clip["difference"] for clip in result["clips"] if clip["difference"] is not None]
    return "\n".join([
        *lines,
        "",
        "The mean training rating of the source video, looked up without any model, reaches "
        f"{figures} (official splits; 1-MAE / R² / PCC). A row without a transcript has no score "
        "from text alone.",
        "",
        f"{len(result['clips'])} clips were also scored from mp4 and transcript. Where published "
        f"features exist ({len(differences)} clips), no score differs by more than "
        f"{max(differences, default=0.0):.4f} from the score of those features.",
    ])  # fmt: skip


def impressions_traits(result: Result) -> str:
    """Return the table by trait."""
    lines = [
        "| reads | rows | metric | " + " | ".join(_trait_names()) + " |",
        "|---|---|---|" + "---|" * len(TRAITS),
    ]
    for row in result["rows"]:
        for metric, name in METRICS.items():
            values = " | ".join(f"{row['traits'][trait][metric]:.4f}" for trait in TRAITS)
            lines.append(f"| {_head(row)} | {name} | {values} |")
    return "\n".join([*lines, "", f"From {source(result)}."])


def fusions(result: Result) -> str:
    """Return the comparison of fusions."""
    lines = [
        "| fusion | rows | parameters | 1-MAE | R² | PCC | CCC | R² minus concat's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        difference = _difference(row["minus_concat"]) if "minus_concat" in row else ""
        lines.append(
            f"| {row['fusion']} | {row['protocol']} | {row['parameters']:,} | "
            f"{' | '.join(_over_seeds(row))} | {difference} |"
        )
    return "\n".join([
        *lines,
        "",
        f"Mean ± standard deviation over {result['seeds']} seeds, per trait, then averaged. The "
        "last column compares the means of the seeds' scores on the same rows, with its 95 % "
        "interval from a bootstrap over source videos or persons; *noise* where that holds zero. "
        f"From {source(result)} in {result['cpu_s'] / 60:.0f} CPU minutes ({result['hardware']}).",
    ])  # fmt: skip


def text_systems(result: Result) -> str:
    """Return the comparison of systems that read transcripts alone."""
    lines = [
        "| system | rows | parameters | 1-MAE | R² | PCC | CCC | R² minus plain_minilm's |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        simple = row["parameters"] == 0
        figures = [f"{row['mean'][m]:.4f}" for m in METRICS] if simple else _over_seeds(row)
        parameters = "" if simple else f"{row['parameters']:,}"
        difference = _difference(row["difference"]) if "difference" in row else ""
        lines.append(
            f"| {row['system']} | {row['protocol']}, {row['n']:,} | "
            f"{parameters} | {' | '.join(figures)} | {difference} |"
        )
    drawn = result["drawn"]
    return "\n".join([
        *lines,
        "",
        f"{drawn['train']:,} training and {drawn['test']:,} test rows with words, drawn once; "
        "*unseen* are those whose source video has no drawn training row. Mean "
        f"± standard deviation over {result['seeds']} seeds, per trait, then averaged; parameters "
        "are those that training changes. The last column compares the means of the seeds' scores "
        "on the same rows, with its 95 % interval from a bootstrap over source videos; *noise* "
        f"where that holds zero. From {source(result)} in {result['cpu_s'] / 60:.0f} CPU minutes "
        f"({result['hardware']}).",
    ])  # fmt: skip


def synthetic(result: Result) -> str:
    """Return R2 by trait and by what was left out, on clips with planted signals."""
    lines = [
        f"| R² on held-out footage | {' | '.join(_trait_names())} |",
        "|---|" + "---|" * len(TRAITS),
    ]
    planted = ("words", "audio: level", "video: motion", "video: light", "audio: pitch")
    lines.append(f"| *planted in* | {' | '.join(planted)} |")
    for name, values in result["r2"].items():
        lines.append(f"| {name} | {' | '.join(f'{values[trait]:.3f}' for trait in TRAITS)} |")
    clips = result["clips"]
    return "\n".join([
        *lines,
        "",
        f"{clips['train']} training clips and {clips['validation'] + clips['test']} held-out ones, "
        f"of {result['footage']} videos; one seed, the last epoch, held-out clips read once; "
        "settings were chosen on a corpus with other signals and other footage held out. "
        f"{result['epochs']} epochs in {result['trained_s'] / 60:.0f} minutes, decoding included "
        f"({result['hardware']}, threads used: {result['threads']}). From {source(result)}.",
    ])  # fmt: skip


def seven_clips(result: Result) -> str:
    """Return how closely bundles repeat the clips that their networks learned by heart."""
    lines = [
        "| recipe | mean absolute error | of the clips' own mean | bundle and network differ by |",
        "|---|---|---|---|",
    ]
    for name, row in result["recipes"].items():
        lines.append(
            f"| {name} | {row['mean_absolute_error']:.4f} | "
            f"{row['mean_absolute_error_of_their_mean']:.4f} | "
            f"{row['largest_difference_bundle_network']:.4f} at most |"
        )
    return "\n".join([*lines, "", f"{result['epochs']} epochs. From {source(result)}."])


def _head(row: Result) -> str:
    return f"{row['modalities'].replace(',', ' + ')} | {row['split']}, {row['protocol']}"


def _trait_names() -> list[str]:
    return [trait.replace("_", " ") for trait in TRAITS]


def _with_interval(row: Result, metric: str) -> str:
    low, high = row["intervals"]["mean"][metric]
    return f"{row['mean'][metric]:.4f} [{low:.3f}, {high:.3f}]"


def _over_seeds(row: Result) -> list[str]:
    return [f"{row['mean'][metric]:.4f} ± {row['sd'][metric]:.4f}" for metric in METRICS]


def _difference(found: Result) -> str:
    low, high = found["intervals"]["mean"]["r2"]
    noise = " (noise)" if low <= 0 <= high else ""
    return f"{found['mean']['r2']:+.3f} [{low:+.3f}, {high:+.3f}]{noise}"
