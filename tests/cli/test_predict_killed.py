"""kill -9 at any moment costs at most the clips in hand, and leaves a file that can go on."""

import json
import random
import subprocess
import sys
import time

import pytest

PROGRAM = "from mmperson.cli.app import main; main()"
CLIPS = 40
WORKERS = 2


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tiny_bundle, demo, tmp_path, project_root):
    draw = random.Random(5)
    content = demo.read_bytes()
    for number in range(CLIPS):
        (tmp_path / f"{number:02d}.mp4").write_bytes(content)
    out = tmp_path / "scores.jsonl"
    command = [sys.executable, "-c", PROGRAM, "predict", str(tmp_path), "--out", str(out)]
    command += ["--bundle", str(tiny_bundle), "--workers", str(WORKERS)]

    def lines():
        return out.read_bytes().split(b"\n") if out.exists() else [b""]

    survived = 0
    for _ in range(2):
        process = subprocess.Popen(command, cwd=project_root, stderr=subprocess.DEVNULL)
        wanted = survived + draw.randint(1, 12)
        while len(lines()) <= wanted and process.poll() is None:
            time.sleep(draw.random() / 200)
        process.kill()
        process.wait()
        *whole, torn = lines()
        clips = [json.loads(line)["clip"] for line in whole]
        assert len(set(clips)) == len(clips)
        assert survived <= len(clips)
        survived = len(clips)
        if draw.random() < 0.5:  # as a power cut may leave it
            with out.open("ab") as file:
                file.write(b'{"schema_version": "1", "cl' if not torn else b"")
    assert 2 <= survived < CLIPS
    answer = subprocess.run(command, cwd=project_root, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert f"{survived} of {CLIPS} clips are already in" in answer.stderr
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert sorted(record["clip"] for record in records) == [
        str(tmp_path / f"{number:02d}.mp4") for number in range(CLIPS)
    ]
    assert len({json.dumps(record["scores"]) for record in records}) == 1
    assert not list(tmp_path.glob(".mmperson-*"))
