"""A slice of the damaged files of ``tests.stress.mutants``: each a value or a typed error."""

import sys

import pytest

from mmperson.errors import MMPersonError
from tests.stress import mutants

MUTANTS = 300


@pytest.fixture(scope="module")
def found(tmp_path_factory, module_patch):
    module_patch.delenv("MMPERSON_DATA", raising=False)  # the same mutants everywhere
    return mutants.run(MUTANTS, 0, 1, MUTANTS, tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.mark.slow
def test_every_mutant_gives_a_value_or_a_typed_error(found):
    assert found["bad"] == []
    assert found["mutants"] == MUTANTS
    assert found["peak_mb"] < mutants.GOAL_MB
    names = {name for outcomes in found["outcomes"].values() for name in outcomes}
    errors = {error.__name__ for error in subclasses(MMPersonError)}
    assert names <= {"a value", *errors}


@pytest.mark.slow
def test_of_every_kind_some_are_refused(found):
    assert set(found["outcomes"]) == set(mutants.SHARES)
    assert all(set(outcomes) - {"a value"} for outcomes in found["outcomes"].values())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("MMPERSON_DATA", raising=False)
    mutants.gather_seeds(tmp_path)
    return tmp_path


def test_the_seeds_are_whole(folder):
    for kind, paths in mutants._listed(folder).items():
        assert {mutants.outcome(kind, path) for path in paths} == {"a value"}


def test_a_mutant_depends_on_its_number_alone(folder):
    seeds = mutants._listed(folder)
    assert mutants.make_mutant(seeds, 3, 77) == mutants.make_mutant(seeds, 3, 77)
    assert len({mutants.make_mutant(seeds, 3, number)[2] for number in range(30)}) > 25


def test_a_foreign_exception_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(mutants.READERS, "clip", lambda path: [][0])
    assert mutants.outcome("clip", tmp_path).startswith("FOREIGN IndexError")


@pytest.mark.parametrize(
    ("harm", "outcome"),
    [
        ("os.kill(os.getpid(), 11)", "CRASH with status -11"),
        ("time.sleep(60)", "HANG of more than 1 s"),
    ],
)
def test_a_crash_or_hang_is_reported_and_the_next_are_read(folder, monkeypatch, harm, outcome):
    """A worker that comes to grief at number 2 of 4 is followed by another one."""
    script = folder / "worker.py"
    script.write_text(
        "import json, os, sys, time\n"
        "first, count = (int(sys.argv[sys.argv.index(o) + 1]) for o in ('--first', '--mutants'))\n"
        "print('{\"idle_mb\": 1}', flush=True)\n"
        "for number in range(first, first + count):\n"
        f"    if number == 2: {harm}\n"
        "    line = {'number': number, 'kind': 'clip', 'outcome': 'a value'}\n"
        "    print(json.dumps(line), flush=True)\n"
    )
    monkeypatch.setattr(mutants, "WORKER", [sys.executable, str(script)])
    monkeypatch.setattr(mutants, "HANG_S", 1.0)
    lines = mutants.run_batch(folder, 0, 0, 4)
    found = [line["outcome"] for line in lines if "number" in line]
    assert found == ["a value", "a value", outcome, "a value"]


def subclasses(cls):
    return [cls, *(deeper for child in cls.__subclasses__() for deeper in subclasses(child))]
