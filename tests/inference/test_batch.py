import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mmperson.errors import BundleError, UsageError
from mmperson.inference.batch import predict_many
from mmperson.inference.bundle import open_bundle
from mmperson.inference.predictor import load
from mmperson.inference.scoring import Job, ScoringWorkload
from mmperson.media import read_clip
from mmperson.pool import worker_pool as crew_module
from mmperson.pool.worker_pool import WorkerLimits, WorkerPool, imap_unordered
from tests.fixtures.media import write_clip

# What a hostile clip could make of a worker, by the name of the clip.
HOSTILE = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
import numpy as np
from mmperson.inference.predictor import Predictor
from mmperson.pool.worker import serve
predict = Predictor.predict
def act(self, clip, transcript):
    match clip:
        case "crash": os.kill(os.getpid(), signal.SIGSEGV)
        case "abort": os.abort()
        case "killed": os.kill(os.getpid(), signal.SIGKILL)
        case "leave": os._exit(0)
        case "hang": time.sleep(600)
        case "spin":
            while True: pass
        case "eat": np.ones(2**30)
        case "bug": 1 / 0
        case "write":
            file = os.open(os.environ["MMPERSON_TEST_FILE"], os.O_WRONLY | os.O_CREAT)
            os.write(file, b"x")
        case "lie": return predict(self, "another", None)
        case "slow": time.sleep(0.5)
    return predict(self, clip, transcript)
Predictor.predict = act
serve(sys.argv[2])
"""


@pytest.fixture
def hostile(monkeypatch):
    monkeypatch.setattr(crew_module, "_PROGRAM", HOSTILE)


def scores(records):
    return [record.scores for record in records]


def test_scores_have_the_same_bits_alone_in_a_list_and_in_workers(tiny_bundle, demo, tmp_path):
    silent = tmp_path / "words missing.mp4"
    silent.write_bytes(demo.read_bytes())
    clips = [demo, silent, demo, tmp_path / "none.mp4"]
    (expected,) = scores(predict_many([demo], bundle=tiny_bundle, workers=1))
    assert expected is not None
    for workers in (1, 2, 2):
        records = list(predict_many(iter(clips), bundle=tiny_bundle, workers=workers))
        first, second, third, fourth = scores(records)
        assert first == third == expected
        assert second not in (None, expected)
        assert fourth is None
        assert [record.clip for record in records] == [str(clip) for clip in clips]
        assert records[3].error == load(tiny_bundle).predict(clips[3]).error


@pytest.mark.slow
@pytest.mark.usefixtures("hostile")
def test_a_clip_that_ends_its_worker_costs_itself_alone(tiny_bundle, demo, tmp_path, monkeypatch):
    monkeypatch.setenv("MMPERSON_TEST_FILE", str(tmp_path / "written"))
    told = {
        "crash": ("UnreadableMedia", "was ended by SIGSEGV"),
        "abort": ("UnreadableMedia", "was ended by SIGABRT"),
        "killed": ("UnreadableMedia", "was ended by SIGKILL"),
        "leave": ("UnreadableMedia", "ended with exit code 0"),
        "eat": ("MediaTooLarge", "more than 512 MB of memory"),
        "bug": ("UnreadableMedia", "raised ZeroDivisionError"),
        "write": ("UnreadableMedia", "raised OSError: [Errno 27]"),
        "lie": ("UnreadableMedia", "was ended by SIGKILL"),
    }
    clips = [clip for name in told for clip in (name, str(demo))]
    records = list(predict_many(clips, bundle=tiny_bundle, workers=2, memory_mb=512))
    assert [record.clip for record in records] == clips
    assert len({record.scores.openness for record in records[1::2]}) == 1
    for record, (kind, message) in zip(records[::2], told.values(), strict=True):
        if record.clip == "eat" and not sys.platform.startswith("linux"):
            continue
        assert record.error.type == kind
        assert message in record.error.message
        assert record.error.hint
        assert record.scores is None
        assert record.modalities.audio.use == "absent"
        assert record.modalities.video.use == "unread"
    assert (tmp_path / "written").stat().st_size == 0


@pytest.mark.slow
@pytest.mark.usefixtures("hostile")
def test_a_clip_that_hangs_ends_after_its_time(tiny_bundle, demo):
    begin = time.monotonic()
    clips = ["hang", str(demo), "spin"]
    records = list(predict_many(clips, bundle=tiny_bundle, workers=2, timeout_s=1.0))
    assert [record.error and record.error.type for record in records] == [
        "MediaTooLarge",
        None,
        "MediaTooLarge",
    ]
    assert "longer than 1 s" in records[0].error.message
    assert time.monotonic() - begin < 60


@pytest.mark.slow
@pytest.mark.usefixtures("hostile")
def test_records_can_be_had_as_they_are_done(tiny_bundle, demo):
    jobs = [Job("slow"), Job(str(demo)), Job(str(demo))]
    answers = list(
        imap_unordered(ScoringWorkload(open_bundle(tiny_bundle)), jobs, WorkerLimits(workers=2))
    )
    assert answers[-1][0] == 0 or answers[0][0] != 0
    assert sorted(number for number, _ in answers) == [0, 1, 2]


def test_a_crew_takes_clips_at_any_time_and_keeps_its_workers(tiny_bundle, demo):
    with WorkerPool(ScoringWorkload(open_bundle(tiny_bundle)), WorkerLimits(2)) as pool:
        assert (pool.free, pool.busy, pool.pids) == (2, 0, [])
        pool.submit(7, Job(str(demo)))
        assert pool.poll(0.0) == []  # nothing is waited for
        first = []
        while pool.busy:
            first += pool.poll()
        (worker,) = pool.pids
        pool.submit(8, Job(str(demo)))
        assert (pool.free, pool.pids) == (1, [worker])
        pool.submit(9, Job("none.mp4"))
        assert pool.free == 0
        second = []
        while pool.busy:
            second += pool.poll()
        pids = pool.pids
        assert len(pids) == 2
    assert [number for number, _ in first] == [7]
    assert {number: record.error is None for number, record in second} == {8: True, 9: False}
    assert not any(map(alive, pids))


def test_words_may_be_named(tiny_bundle, demo, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("I plan my day.")
    ((_, record),) = imap_unordered(
        ScoringWorkload(open_bundle(tiny_bundle)), [Job(str(demo), str(words))], WorkerLimits(1)
    )
    expected = load(tiny_bundle).predict(demo, words).scores.model_dump()
    assert record.scores.model_dump() == pytest.approx(expected, abs=1e-5)


def test_no_more_workers_than_clips_are_started(tiny_bundle, monkeypatch):
    started = []
    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(1) or real(*a, **k))
    assert list(predict_many([], bundle=tiny_bundle)) == []
    assert len(list(predict_many(["a.mp4"], bundle=tiny_bundle, workers=4))) == 1
    assert len(started) == 1


def test_clips_are_taken_only_as_workers_become_free(tiny_bundle):
    taken = []

    def clips():
        for number in range(50):
            taken.append(number)
            yield f"{number}.mp4"

    answers = imap_unordered(
        ScoringWorkload(open_bundle(tiny_bundle)), map(Job, clips()), WorkerLimits(workers=2)
    )
    next(answers)
    assert len(taken) <= 4  # one for each worker, and one more for each that has answered
    answers.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_workers_end_with_the_iterator_and_with_the_parent(tiny_bundle, project_root):
    script = (
        "import sys; from mmperson.inference import batch; import subprocess\n"
        "real = subprocess.Popen\n"
        "def popen(*a, **k):\n"
        "    process = real(*a, **k); print(process.pid, flush=True); return process\n"
        "subprocess.Popen = popen\n"
        "records = batch.predict_many(['a.mp4'] * 10**6, bundle=sys.argv[1], workers=2)\n"
        "next(records)\n"
        "records.close() if sys.argv[2] == 'close' else None\n"
        "print('there', flush=True); sys.stdin.read()\n"
    )
    for end in ("close", "kill"):
        parent = subprocess.Popen(
            [sys.executable, "-c", script, str(tiny_bundle), end],
            cwd=project_root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with parent:
            pids = []
            for line in parent.stdout:
                if line.strip() == "there":
                    break
                pids.append(int(line))
            if end == "kill":
                parent.send_signal(signal.SIGKILL)
            deadline = time.monotonic() + 20
            while any(map(alive, pids)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(pids) == 2
            assert not any(map(alive, pids))
            parent.kill()


def test_what_cannot_be_is_refused_at_once(tiny_bundle):
    for wrong, message in (
        ({"workers": 0}, "number of workers is 0"),
        ({"timeout_s": 0.0}, "timeout per clip is 0"),
        ({"timeout_s": float("nan")}, "timeout per clip is nan"),
        ({"memory_mb": 1.0}, "memory of a worker is 1"),
    ):
        with pytest.raises(UsageError, match=message):
            predict_many(["a.mp4"], bundle=tiny_bundle, **wrong)
    with pytest.raises(UsageError, match="Clips are a sequence of paths"):
        predict_many("a.mp4", bundle=tiny_bundle)
    with pytest.raises(UsageError, match="A clip is a path"):
        list(predict_many([b"a.mp4"], bundle=tiny_bundle))


def test_a_worker_that_is_killed_while_it_starts_costs_its_clip(demo, tiny_bundle, tmp_path):
    doomed = f"import os, signal; os.path.exists({str(tmp_path / 'met')!r}) or ("
    doomed += f"open({str(tmp_path / 'met')!r}, 'x'), os.kill(os.getpid(), signal.SIGKILL)); "
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(crew_module, "_PROGRAM", doomed + crew_module._PROGRAM)
        clips = [str(demo)] * 2
        killed, scored = predict_many(clips, bundle=tiny_bundle, workers=1)
    assert killed.error is not None
    assert "was ended by SIGKILL" in killed.error.message
    assert scored.error is None


def test_a_worker_that_cannot_start_is_no_fault_of_the_clips(tiny_bundle, monkeypatch):
    monkeypatch.setattr(crew_module, "_PROGRAM", "raise SystemExit(7)")
    with pytest.raises(BundleError, match="exit code 7"):
        list(predict_many(["a.mp4"], bundle=tiny_bundle, workers=2))
    monkeypatch.setattr(crew_module, "_PROGRAM", 'print(\'{"failed": "BundleCorrupt: torn"}\')')
    with pytest.raises(BundleError, match="could not be initialized: BundleCorrupt: torn"):
        list(predict_many(["a.mp4"], bundle=tiny_bundle, workers=2))


def test_one_and_several_threads_of_decoding_give_the_same_frames(demo):
    one, several = (read_clip(demo, frames=6, threads=how) for how in ("none", "auto"))
    np.testing.assert_array_equal(one.frames, several.frames)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_memory_stays_flat(tiny_bundle, tmp_path):
    clip = write_clip(tmp_path / "small.mp4", duration_s=0.6)
    workers = []
    real = crew_module._Worker

    class Watched(real):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            workers.append(self._process.pid)

    def resident_mb():
        with open(f"/proc/{workers[0]}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    measured = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crew_module, "_Worker", Watched)
        for number, record in enumerate(predict_many([clip] * 200, bundle=tiny_bundle, workers=1)):
            assert record.error is None
            if number in (50, 198):
                measured.append(resident_mb())
    assert len(workers) == 1
    assert measured[1] < 1.02 * measured[0]
