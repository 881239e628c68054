"""Damage small files of every kind that mmperson reads, and see what becomes of each mutant.

    python -m tests.stress mutants --mutants 10000
    python -m tests.stress mutants --only 4711 --keep mutant.bin    # one of them again

Every mutant must give a value or an error of mmperson: no crash, no hang, no foreign exception.
Bits and runs of bytes change, ranges are dropped, doubled, cut off or taken from another file, the
sizes of MP4, RIFF and Matroska boxes lie, MP4 boxes get other names, others come in front and
fragments behind, and numbers and marks of the text formats become extreme. A clip is read, and
scored as a whole and by windows, with a decode profile that its bytes decide. Mutant number i
depends on the seed and on i alone. Batches run in processes of their own, which are killed when one
mutant takes more than ``HANG_S``; the next process goes on behind it. Real clips of at most 130 kB
join the seeds where ``MMPERSON_DATA`` names their folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import select
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tests.stress.mutations import mutate
from tests.stress.results import ROOT, describe_run, write_result
from tests.stress.seeds import write_seeds

if TYPE_CHECKING:
    from mmperson.inference.predictor import Predictor

PACKAGES = ("av", "numpy", "pyarrow", "pydantic", "PyYAML")
WORKER = [sys.executable, "-m", "tests.stress", "mutants"]
HANG_S = 10.0
GOAL_MB = 600
LARGEST_REAL = 130_000
SHARES = {
    "clip": 60,
    "transcript": 12,
    "manifest": 8,
    "labels": 4,
    "texts": 2,
    "bundle": 6,
    "recipe": 8,
}
"""How many of a hundred mutants are of each kind."""


def make_mutant(seeds: dict[str, list[Path]], seed: int, number: int) -> tuple[str, Path, bytes]:
    """Return a mutant's kind, the file it comes from, and its content."""
    chance = random.Random(f"{seed}-{number}")
    kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
    source, other = chance.choice(seeds[kind]), chance.choice(seeds[kind])
    return kind, source, mutate(source.read_bytes(), other.read_bytes(), chance)


def outcome(kind: str, path: Path) -> str:
    """Read a file and say what became of it: a value, one of our errors, or FOREIGN and what."""
    from mmperson.errors import MMPersonError

    try:
        READERS[kind](path)
    except MMPersonError as error:
        return type(error).__name__
    except Exception as error:  # What escapes is what is looked for.
        trace, place = error.__traceback__, ""
        while trace is not None:
            code = trace.tb_frame.f_code
            if "mmperson" in code.co_filename:
                place = f"{Path(code.co_filename).name}:{code.co_name}"
            trace = trace.tb_next
        return f"FOREIGN {type(error).__name__} in {place}: {str(error)[:120]}"
    return "a value"


@cache
def _predictor() -> Predictor:
    from mmperson.inference.predictor import load

    return load(threads=1)


def _read_clip(path: Path) -> None:
    from mmperson.media import AudioWindow, probe_clip, read_clip
    from mmperson.media.decode import Decode

    predictor = _predictor()
    profile: Decode = random.Random(path.read_bytes()).choice(get_args(Decode))
    predictor.decode = profile
    record = predictor.predict(path)
    assert (record.error is None) == (record.scores is not None)
    *_, last = predictor.predict_windows(path, window_s=1.0)
    assert (last.error is None) == (last.scores is not None)
    window = AudioWindow(16_000, duration_s=15.0)
    clip = read_clip(path, frames=4, audio=window, decode=profile, threads="none")
    assert clip.frames is not None or clip.waveform is not None or clip.warnings
    probe_clip(path)


def _read_transcript(path: Path) -> None:
    from mmperson.media import read_transcript

    read_transcript(path)


def _read_manifest(path: Path) -> None:
    from mmperson.datasets import check_manifest, compute_stats, read_manifest

    rows = read_manifest(path)
    check_manifest(rows, probe=True)
    compute_stats(rows)


def _read_labels(path: Path) -> None:
    from mmperson.datasets import read_labels

    read_labels(path)


def _read_texts(path: Path) -> None:
    from mmperson.datasets import read_texts

    read_texts(path)


def _read_bundle(path: Path) -> None:
    from mmperson.inference.bundle import open_bundle

    open_bundle(path.parent)


def _read_recipe(path: Path) -> None:
    from mmperson.config import load_recipe

    load_recipe(path)


READERS: dict[str, Callable[[Path], None]] = {
    "clip": _read_clip,
    "transcript": _read_transcript,
    "manifest": _read_manifest,
    "labels": _read_labels,
    "texts": _read_texts,
    "bundle": _read_bundle,
    "recipe": _read_recipe,
}


def read_batch(folder: Path, seed: int, first: int, count: int) -> None:
    """Read mutants one after the other and print a line of JSON for each: a worker's whole life."""
    seeds = _listed(folder)
    warnings.simplefilter("ignore")
    for kind, paths in seeds.items():  # Imports and decoders, before anything is measured.
        READERS[kind](paths[0])
    print(json.dumps({"idle_mb": _peak_mb()}), flush=True)
    for number in range(first, first + count):
        kind, source, content = make_mutant(seeds, seed, number)
        # In a folder of its own, beside whatever belongs to it.
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / source.name
            for file in source.parent.iterdir() if kind == "bundle" else ():
                (Path(place) / file.name).write_bytes(file.read_bytes())
            path.write_bytes(content)
            before = time.process_time()
            found = outcome(kind, path)
            cpu_s = time.process_time() - before
        line = {"number": number, "kind": kind, "source": source.name, "outcome": found}
        print(json.dumps(line | {"cpu_s": cpu_s, "peak_mb": _peak_mb()}), flush=True)


def run_batch(folder: Path, seed: int, first: int, count: int) -> list[dict[str, Any]]:
    """Have workers read mutants; one that dies or hangs is noted, and the next goes on behind."""
    lines: list[dict[str, Any]] = []
    while count > 0:
        found, failure = _run_worker(folder, seed, first, count)
        lines += found
        done = len([line for line in found if "number" in line])
        if failure is not None:
            kind, source, _ = make_mutant(_listed(folder), seed, first + done)
            lines.append({"number": first + done, "kind": kind, "source": source.name})
            lines[-1] |= {"outcome": failure}
            done += 1
        first, count = first + done, count - done
    return lines


def _run_worker(
    folder: Path, seed: int, first: int, count: int
) -> tuple[list[dict[str, Any]], str | None]:
    arguments = ["--worker", folder, "--seed", seed, "--first", first, "--mutants", count]
    command = [*WORKER, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    # Without a buffer: lines that wait in one are not seen by select.
    with subprocess.Popen(
        command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as worker:
        assert worker.stdout is not None
        lines: list[dict[str, Any]] = []
        patience_s = 60.0  # for imports; from then on for one mutant
        while True:
            if not select.select([worker.stdout], [], [], patience_s)[0]:
                worker.kill()
                return lines, f"HANG of more than {patience_s:.0f} s"
            line = worker.stdout.readline()
            if not line:
                break
            lines.append(json.loads(line))
            patience_s = HANG_S
    if worker.returncode == 0:
        return lines, None
    if not lines:
        raise RuntimeError(f"The worker cannot start: {shlex.join(command)}")
    return lines, f"CRASH with status {worker.returncode}"


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what became of the mutants, and name those that must not be."""
    mutants = [line for line in lines if "number" in line]
    bad = [line for line in mutants if line["outcome"].split()[0] in ("FOREIGN", "HANG", "CRASH")]
    counts: dict[str, Counter[str]] = {}
    for line in mutants:
        name = line["outcome"].split(":")[0]
        counts.setdefault(line["kind"], Counter())[name] += 1
    measured = [line for line in mutants if "peak_mb" in line]
    slowest = max(measured, key=lambda line: line["cpu_s"])
    return {
        "mutants": len(mutants),
        "crashes": sum(line["outcome"].startswith("CRASH") for line in bad),
        "hangs": sum(line["outcome"].startswith("HANG") for line in bad),
        "foreign": sum(line["outcome"].startswith("FOREIGN") for line in bad),
        "peak_mb": round(max(line["peak_mb"] for line in measured), 1),
        "hang_s": HANG_S,
        "goal_mb": GOAL_MB,
        "idle_mb": round(max(line["idle_mb"] for line in lines if "idle_mb" in line), 1),
        "cpu_s": round(sum(line["cpu_s"] for line in measured), 1),
        "slowest": {**slowest, "cpu_s": round(slowest["cpu_s"], 2)},
        "outcomes": {kind: dict(sorted(found.items())) for kind, found in sorted(counts.items())},
        "bad": bad[:100],
    }


def run(mutants: int, seed: int, workers: int, batch: int, folder: Path) -> dict[str, Any]:
    """Make the seeds in a folder, have every mutant read, and sum up."""
    seeds = gather_seeds(folder)
    starts = range(0, mutants, batch)
    with ThreadPoolExecutor(workers) as pool:
        batches = pool.map(
            lambda first: run_batch(folder, seed, first, min(batch, mutants - first)), starts
        )
        lines = [line for found in batches for line in found]
    return {"seeds": {kind: len(paths) for kind, paths in seeds.items()}, **summary(lines)}


def gather_seeds(folder: Path) -> dict[str, list[Path]]:
    """Write the seeds into a folder, add small real clips, and list all in ``seeds.json``."""
    seeds = write_seeds(folder)
    if real := os.environ.get("MMPERSON_DATA"):
        clips = sorted(path for path in Path(real).glob("clips/*/*") if path.stat().st_size)
        seeds["clip"] += [path for path in clips if path.stat().st_size <= LARGEST_REAL]
    listed = {kind: [str(path) for path in paths] for kind, paths in seeds.items()}
    (folder / "seeds.json").write_text(json.dumps(listed))
    return seeds


def _listed(folder: Path) -> dict[str, list[Path]]:
    listed: dict[str, list[str]] = json.loads((folder / "seeds.json").read_text())
    return {kind: [Path(path) for path in paths] for kind, paths in listed.items()}


def _peak_mb() -> float:
    # Not getrusage: its maximum begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def main(arguments: Sequence[str]) -> None:
    """Run all of it, one mutant, or a worker's batch."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress mutants", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes at a time")
    parser.add_argument("--batch", type=int, default=250, help="mutants of one process")
    parser.add_argument("--only", type=int, help="number of one mutant; no result is written")
    parser.add_argument("--keep", type=Path, help="with --only, where to write that mutant")
    parser.add_argument("--dry", action="store_true", help="print, and write no result file")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker is not None:
        read_batch(given.worker, given.seed, given.first, given.mutants)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if given.only is not None:
            _, _, content = make_mutant(gather_seeds(folder), given.seed, given.only)
            if given.keep is not None:
                given.keep.write_bytes(content)
            print(json.dumps(run_batch(folder, given.seed, given.only, 1)[-1], indent=1))
            return
        facts = {} if given.dry else describe_run(PACKAGES)
        found = run(given.mutants, given.seed, given.workers, given.batch, folder)
    print(json.dumps(found, indent=1))
    if not given.dry:
        write_result("mutants", facts, {"seed": given.seed, **found})
