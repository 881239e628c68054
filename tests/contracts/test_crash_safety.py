"""Kills, full disks and too little memory cost time alone; tests/stress does so at scale."""

import resource
import signal
import sys

import pytest

from mmperson.cli import app
from mmperson.config import parse_recipe
from mmperson.errors import TrainingError
from mmperson.training import setup, train
from tests.stress import crash_safety, memory_group, subjects


@pytest.fixture(scope="module")
def caching(tmp_path_factory):
    """Decode ten clips, and what it leaves."""
    folder = tmp_path_factory.mktemp("caching")
    subject = subjects.caching(subjects.make_caching(folder, 10), folder)
    return subject, crash_safety.run_uninterrupted(subject, folder / "reference")


@pytest.mark.slow
def test_a_killed_cache_goes_on_where_it_was(caching, tmp_path):
    subject, reference = caching
    assert len(reference.result) == 12  # picture and sound of six clips to learn from
    found = crash_safety.kill_repeatedly(subject, reference, tmp_path, kills=3, seed=0)
    assert found.endings == {"SIGKILL": 3}
    assert found.faults == []


@pytest.mark.slow
def test_a_cache_without_room_says_so_and_goes_on(caching, tmp_path):
    subject, reference = caching
    limit = (resource.RLIMIT_FSIZE, (300, 301), 1, 0)
    found = crash_safety.run_under_limits(subject, reference, tmp_path, *limit)
    assert found.endings == {"2 UsageError": 1}
    assert found.faults == []


@pytest.fixture(scope="module")
def predicting(tiny_bundle, tmp_path_factory):
    """Score eight audio files, and what it leaves."""
    folder = tmp_path_factory.mktemp("predicting")
    subject = subjects.predicting(subjects.make_sounds(folder, 8), str(tiny_bundle))
    return subject, crash_safety.run_uninterrupted(subject, folder / "reference")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="workers are looked for in /proc")
def test_a_killed_batch_leaves_no_worker(predicting, tmp_path):
    subject, reference = predicting
    killed = crash_safety.kill_repeatedly(subject, reference, tmp_path / "kill", kills=2, seed=1)
    assert killed.endings["SIGKILL"] == 2
    assert killed.faults == []
    by_worker = crash_safety.kill_workers(subject, reference, tmp_path / "workers", kills=1, seed=0)
    assert by_worker.stages["workers killed"] == 1
    assert by_worker.faults == []


@pytest.fixture
def memory_groups():
    """Skip where the kernel cannot be asked to kill for want of memory."""
    with memory_group.memory_group() as group:
        if group is None:
            pytest.skip("this process may make no control group of memory")
    assert not group.folder.exists()


@pytest.mark.slow
def test_a_worker_that_the_kernel_kills_costs_its_clip(memory_groups, predicting, tmp_path):
    subject, reference = predicting
    found = crash_safety.kill_workers_by_memory(subject, reference, tmp_path, kills=1, seed=0)
    assert found.endings["1"] == 1  # a run that was done before its worker was hit ends in 0
    assert found.stages["workers killed"] >= 1
    assert found.faults == []


@pytest.mark.slow
def test_a_cache_that_the_kernel_kills_goes_on(memory_groups, caching, tmp_path):
    subject, reference = caching
    found = crash_safety.run_in_little_memory(subject, reference, tmp_path, tries=1, seed=0)
    (ending,) = found.endings  # the command, its worker, or both
    assert "killed by the kernel" in ending
    assert ", 0 killed" not in ending
    assert found.faults == []


@pytest.mark.slow
def test_without_control_groups_there_is_no_finding(caching, tmp_path, monkeypatch):
    monkeypatch.setattr(memory_group, "PLACES", {tmp_path: "memory.max"})
    monkeypatch.setattr(crash_safety, "memory_group", memory_group.memory_group)
    subject, reference = caching
    assert crash_safety.run_in_little_memory(subject, reference, tmp_path, tries=1, seed=0) is None


@pytest.mark.slow
def test_a_training_without_room_says_so_and_goes_on(tiny_recipe, tmp_path):
    subject = subjects.training(tiny_recipe, tmp_path)
    reference = crash_safety.run_uninterrupted(subject, tmp_path / "reference")
    limit = (resource.RLIMIT_FSIZE, (800_000, 800_001), 1, 0)  # the tokenizer fits, no state does
    found = crash_safety.run_under_limits(subject, reference, tmp_path / "limit", *limit)
    assert found.endings == {"2 UsageError": 1}
    assert found.faults == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 bytes"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_training_without_memory_says_so_and_goes_on(tiny_recipe, tmp_path, monkeypatch, error):
    content = tiny_recipe.model_dump(mode="json")
    recipe = parse_recipe(content, source="test")
    expected = train(recipe, tmp_path / "reference").run
    fit = setup.fit

    def starved(*arguments):
        fit(*arguments)
        raise error

    monkeypatch.setattr(setup, "fit", starved)
    with pytest.raises(TrainingError, match=r"out of memory.*resumes from the last checkpoint"):
        train(recipe, tmp_path / "run")
    monkeypatch.undo()
    train(recipe, tmp_path / "run")
    for name in ("network.safetensors", "log.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (expected / name).read_bytes()


def test_any_verb_without_memory_is_one_line(monkeypatch, capsys):
    def starved():
        raise MemoryError

    monkeypatch.setattr(app, "app", starved)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 3
    assert capsys.readouterr().err.startswith("MemoryError: ")


def test_faults_are_seen(tiny_recipe, tmp_path):
    (tmp_path / "half.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / ".left.npy.1").write_bytes(b"")
    subject = subjects.caching(tiny_recipe, tmp_path)
    found = crash_safety.Findings()
    found.note(subject, tmp_path, {"gone.npy": b""})
    found.compare(subject, tmp_path, {"half.npy": b""})
    assert len(found.corrupt) == 1
    assert found.unfinished == 1
    assert found.gone == [f"{tmp_path.name}: gone.npy"]
    assert found.left == [".left.npy.1"]
    assert len(found.differences) == 1
    assert -signal.SIGKILL not in found.endings
