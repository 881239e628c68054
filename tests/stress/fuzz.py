"""Search the parsers of mmperson for foreign exceptions, led by coverage.

    pip install atheris
    python -m tests.stress fuzz all 120                               # seconds each
    python -m tests.stress fuzz srt -max_total_time=300
    python -m tests.stress fuzz bundle corpus/ -max_total_time=300    # keeps what it finds

Targets: srt, vtt, txt, json, boxes (the index of an MP4 file), manifest, labels, texts, bundle and
recipe. What follows the target goes to libFuzzer: folders of inputs, and options such as
``-timeout=10`` (seconds of one input, its default here) and ``-rss_limit_mb=2048``. It begins with
the seeds of ``mutants`` and ends at the first foreign exception, which it prints; the input lies in
``crash-<hash>``. Atheris is no dependency of the project, and continuous integration runs the
mutants instead.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mmperson", "json", "html", "yaml"]):
    import mmperson.config
    import mmperson.datasets
    import mmperson.inference.bundle
    import mmperson.media.safety
    import mmperson.media.transcripts.transcript
import contextlib
import io

from mmperson.errors import MMPersonError
from tests.stress.results import describe_run, write_result
from tests.stress.seeds import write_seeds


def _transcript(suffix: str) -> Callable[[bytes], object]:
    from mmperson.media.transcripts.transcript import _decode, parse_transcript

    return lambda content: parse_transcript(_decode(content), suffix)


def _in_file(read: Callable[[Path], object], path: Path) -> Callable[[bytes], object]:
    def feed(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return feed


def _check_file(content: bytes) -> None:
    mmperson.media.safety.check_file(io.BytesIO(content), len(content))


def _check_manifest(path: Path) -> None:
    mmperson.datasets.check_manifest(mmperson.datasets.read_manifest(path), probe=False)


def _targets(folder: Path) -> dict[str, tuple[str, Callable[[bytes], object]]]:
    """Return the kind of seeds and the function under test, by name."""
    found = {kind: ("transcript", _transcript(f".{kind}")) for kind in ("srt", "vtt", "txt")}
    found["json"] = ("transcript", _transcript(".json"))
    found["boxes"] = ("clip", _check_file)
    for kind, read in (
        ("manifest", _check_manifest),
        ("labels", mmperson.datasets.read_labels),
        ("texts", mmperson.datasets.read_texts),
        ("recipe", mmperson.config.load_recipe),
    ):
        found[kind] = (kind, _in_file(read, folder / "input"))
    described = folder / "bundle" / mmperson.inference.bundle.INFO_FILE
    found["bundle"] = (
        "bundle",
        _in_file(lambda path: mmperson.inference.bundle.open_bundle(path.parent), described),
    )
    return found


def search_all(targets: list[str], seconds: int) -> None:
    """Search every target in a process of its own, and write down how far that came."""
    facts = describe_run(("atheris",))
    rows = []
    for target in targets:
        command = [
            sys.executable,
            "-m",
            "tests.stress",
            "fuzz",
            target,
            f"-max_total_time={seconds}",
        ]
        answer = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        runs = re.findall(r"Done (\d+) runs", answer.stdout)
        row = {"target": target, "runs": int(runs[0]) if runs else None}
        row["edges"] = max(
            (int(n) for n in re.findall(r" cov: (\d+)", answer.stdout)), default=None
        )
        row["found"] = "" if answer.returncode == 0 else answer.stdout[-2000:]
        print(row, flush=True)
        rows.append(row)
    write_result("fuzz", facts, {"seconds_each": seconds, "targets": rows})


def main(arguments: Sequence[str]) -> None:
    """Feed one target until the time is over or something escapes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seeds = write_seeds(folder)
        targets = _targets(folder)
        name, *options = arguments or ("",)
        if name == "all":
            search_all(list(targets), int(options[0]))
            return
        if name not in targets:
            sys.exit(f"There is no target {name!r}; there are {', '.join(targets)}.")
        kind, feed = targets[name]
        corpus = folder / "corpus"
        corpus.mkdir()
        for seed in seeds[kind]:
            (corpus / seed.name).write_bytes(seed.read_bytes())

        def test_one_input(content: bytes) -> None:
            with contextlib.suppress(MMPersonError):
                feed(content)

        options = sorted(options, key=lambda argument: not argument.startswith("-"))
        command = [sys.argv[0], "-timeout=10", "-max_len=65536", *options, str(corpus)]
        atheris.Setup(command, test_one_input)
        atheris.Fuzz()
