"""Nothing depends on what memory held before: glibc fills what it hands out with other bytes."""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.io import wavfile

from mmperson.pool.worker import SINGLE_THREAD_ENV

FILLS = ("0", "77", "200")

READ_AND_SCORE = """
import hashlib, sys
import numpy as np
from mmperson.media import AudioWindow, read_clip
from mmperson.inference.predictor import load
bundle, *clips = sys.argv[1:]
for path in clips:
    for decode in ("exact", "fast", "key"):
        clip = read_clip(path, frames=6, audio=AudioWindow(16_000), decode=decode)
        parts = [np.asarray(part) for part in (clip.frames, clip.waveform) if part is not None]
        print([hashlib.sha256(part.tobytes()).hexdigest() for part in parts])
for prediction in load(bundle).predict(clips):
    print(prediction.scores.model_dump_json())
"""

WRITE = """
import sys
from pathlib import Path
import numpy as np
from mmperson.datasets.synthetic_media import SOUND_RATE_HZ, write_clip
from tests.stress.seeds import write_seeds
folder = Path(sys.argv[1])
random = np.random.default_rng(0)
frames = random.integers(0, 60, (16, 96, 96, 3), dtype=np.uint8)
frames += np.linspace(0, 190, 96, dtype=np.uint8)[:, None]
sound = random.uniform(-0.3, 0.3, SOUND_RATE_HZ).astype(np.float32)
write_clip(folder / "planted.mp4", frames, sound)
(folder / "seeds").mkdir()
write_seeds(folder / "seeds")
"""


SCORE = """
import sys
from mmperson.inference.predictor import load
for prediction in load().predict(sys.argv[1:]):
    print(prediction.scores.model_dump_json())
"""


def answers(project_root, program, *arguments):
    """Run a program once for every fill of memory."""
    for fill, values in zip(FILLS, arguments, strict=True):
        added = {"MALLOC_PERTURB_": fill, "PYTHONPATH": str(project_root)}
        command = [sys.executable, "-c", program, *map(str, values)]
        yield subprocess.run(
            command,
            cwd=project_root,
            env=os.environ | added,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def written(project_root, tmp_path_factory):
    """Folders of what the same program wrote, one for every fill of memory."""
    folders = [tmp_path_factory.mktemp("written") for _ in FILLS]
    list(answers(project_root, WRITE, *([folder] for folder in folders)))
    return folders


@pytest.mark.slow
def test_clips_and_seeds_are_written_in_the_same_bytes(written):
    one, *others = (
        {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        for folder in written
    )
    assert len(one) > 30
    for other in others:
        assert {name for name in one | other if one.get(name) != other.get(name)} == set()


@pytest.mark.slow
def test_clips_are_read_and_scored_in_the_same_bits(project_root, written, demo, tiny_bundle):
    clips = [demo, written[0] / "planted.mp4", written[0] / "seeds" / "h264.mp4"]
    found = list(answers(project_root, READ_AND_SCORE, *([tiny_bundle, *clips] for _ in FILLS)))
    assert found[0].count("\n") == 4 * len(clips)
    assert len(set(found)) == 1


@pytest.mark.slow
def test_scores_do_not_depend_on_the_threads_of_numpy(tmp_path, project_root):
    clips = []
    for number in range(8):  # of noises of different length: several threads round otherwise
        sound = np.random.default_rng(number).normal(scale=0.1, size=44_100 * 2 + 9_999 * number)
        clips.append(tmp_path / f"{number}.wav")
        wavfile.write(clips[-1], 44_100, sound.astype(np.float32))
    seen = set()
    for threads in ("1", "2"):
        command = [sys.executable, "-c", SCORE, *map(str, clips)]
        env = {name: value for name, value in os.environ.items() if name not in SINGLE_THREAD_ENV}
        env |= {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        answer = subprocess.run(
            command, cwd=project_root, env=env, stdout=subprocess.PIPE, text=True, check=True
        )
        seen.add(answer.stdout)
        assert len(answer.stdout.splitlines()) == len(clips)
    assert len(seen) == 1
