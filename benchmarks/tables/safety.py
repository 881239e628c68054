"""Markdown of what became of damaged files, of parsers under search, and of interrupted work."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.quality import source

Result = dict[str, Any]


def mutants_summary(result: Result) -> str:
    """Return the sentences of SECURITY.md."""
    values = sum(found.get("a value", 0) for found in result["outcomes"].values())
    bad = result["crashes"] + result["hangs"] + result["foreign"]
    file = result["file"]
    return (
        f"Of {result['mutants']:,} mutants {values:,} could be read and "
        f"{result['mutants'] - values - bad:,} were refused with a typed error;\n"
        f"{result['crashes']} crashed, {result['hangs']} took more than "
        f"{result.get('hang_s', 10):.0f} s, and {result['foreign']} ended in an exception that is "
        f"not mmperson's.\nThe largest process had {result['peak_mb']:.0f} MB, where "
        f"{result['goal_mb']} is the goal; the slowest mutant took {result['slowest']['cpu_s']} s "
        f"of CPU time\n([{file}](benchmarks/results/{file}))."
    )


def mutants(result: Result) -> str:
    """Return what became of the damaged files of every kind."""
    lines = ["| kind of file | could be read | refused with a typed error |", "|---|---|---|"]
    for kind, outcomes in result["outcomes"].items():
        refused = ", ".join(
            f"{name} {count:,}" for name, count in outcomes.items() if name != "a value"
        )
        lines.append(f"| {kind} | {outcomes.get('a value', 0):,} | {refused} |")
    return "\n".join([
        *lines,
        "",
        f"Crashes: {result['crashes']}, hangs: {result['hangs']}, exceptions that are not "
        f"mmperson's: {result['foreign']}. From {source(result)}.",
    ])  # fmt: skip


def fuzz(result: Result) -> str:
    """Return how far the search of each parser came."""
    lines = ["| parser | inputs | edges reached | stopped at a finding |", "|---|---|---|---|"]
    for row in result["targets"]:
        runs = "" if row["runs"] is None else f"{row['runs']:,}"
        lines.append(
            f"| {row['target']} | {runs} | {row['edges']} | {'yes' if row['found'] else 'no'} |"
        )
    return "\n".join(
        [*lines, "", f"{result['seconds_each']} s for each parser. From {source(result)}."]
    )


def crash_safety(result: Result) -> str:
    """Return what interruptions of each command cost."""
    lines = [
        "| command, interruption | interruptions | runs brought to their end | damaged files "
        "| other bits in the end | orphaned workers |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["subjects"].items():
        if row is None:
            lines.append(f"| {name} | not possible on that machine | | | | |")
            continue
        damaged = len(row["corrupt"]) + len(row["gone"]) + len(row["left"])
        lines.append(
            f"| {name} | {row['interruptions']} | {row['runs']} | {damaged} | "
            f"{len(row['differences'])} | {row['orphans']} |"
        )
    return "\n".join([*lines, "", f"From {source(result)}."])
