import json

import pytest

from mmperson.errors import UsageError
from mmperson.inference.resume import remaining_clips


@pytest.fixture(scope="module")
def scored(demo):
    """The values of a record of the demo under the name ``a``."""
    import mmperson

    record = mmperson.load().predict(demo, transcript="Hello there.").to_dict()
    return {**record, "clip": "a", "fingerprint": "f1"}


def resume(path, records, clips=("a", "b"), **fingerprints):
    lines = [record if isinstance(record, str) else json.dumps(record) + "\n" for record in records]
    path.write_text("".join(lines))
    known = dict.fromkeys(clips) | {"a": "f1", "b": "f2"} | fingerprints
    return remaining_clips(path, clips, known), path.read_text().count("\n")


def test_a_current_record_stays_and_is_not_scored_again(tmp_path, scored):
    assert resume(tmp_path / "out", [scored]) == (["b"], 1)


@pytest.mark.parametrize(
    "change",
    [
        {"error": {"type": "EmptyMedia", "message": "m", "hint": None}, "scores": None},
        {"fingerprint": None},
        {"fingerprint": ""},
        {"fingerprint": "f3"},
    ],
)
def test_a_stale_record_goes_and_its_clip_is_scored_again(tmp_path, scored, change):
    assert resume(tmp_path / "out", [{**scored, **change}]) == (["a", "b"], 0)


def test_a_clip_without_a_file_is_scored_again(tmp_path, scored):
    assert resume(tmp_path / "out", [scored], a=None) == (["a", "b"], 0)


def test_records_of_other_clips_stay(tmp_path, scored):
    other = {**scored, "clip": "c", "fingerprint": None}
    assert resume(tmp_path / "out", [other, scored]) == (["b"], 2)


def test_of_a_repeated_record_one_stays(tmp_path, scored):
    assert resume(tmp_path / "out", [scored, scored]) == (["b"], 1)
    assert resume(tmp_path / "out", [scored, scored], ("a", "a", "a")) == (["a"], 2)


def test_an_incomplete_last_line_goes(tmp_path, scored):
    assert resume(tmp_path / "out", [scored, json.dumps(scored)[:-9]]) == (["b"], 1)


@pytest.mark.parametrize("line", ["{}\n", "no record\n", "[" * 100_000 + "\n"])
def test_a_file_of_something_else_is_refused_and_kept(tmp_path, scored, line):
    path = tmp_path / "out"
    with pytest.raises(UsageError, match="other than records"):
        resume(path, [scored, line])
    assert path.read_text().endswith(line)
