"""The importer of RecruitView: the published sample, and made rows."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets import Manifest, check_manifest, import_corpus, read_manifest, write_manifest
from mmperson.datasets.folds import assign_folds
from mmperson.errors import DataError
from mmperson.traits import TRAITS

TRAIT_KEYS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
SCORES = ("overall_personality", "interview_score", "answer_score", "speaking_skills")
SCORES += ("confidence_score", "facial_expression", "overall_performance")


def make_row(number: int, **values: object) -> dict:
    row = {
        "id": f"{number:04d}",
        "file_name": f"videos/vid_{number:04d}.mp4",
        "duration": "short",
        "question_id": str(1 + number % 3),
        "question": "Why?",
        "video_quality": "High",
        "user_no": str(number // 2),
        **dict.fromkeys((*TRAIT_KEYS, *SCORES), 0.25 * number),
        "transcript": f"[00:00 - 00:03] Answer number\n[00:03 - 01:07] {number}.",
        "gemini_summary": "SECRET SUMMARY",
    }
    return row | values


def write_rows(folder: Path, rows: list) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def sample_folder(shared_data: Path) -> Path:
    return shared_data / "recruitview"


@pytest.fixture(scope="module")
def sample(sample_folder: Path) -> Manifest:
    return import_corpus("recruitview", sample_folder)


@pytest.fixture(scope="module")
def published(sample_folder: Path) -> list[dict]:
    lines = (sample_folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_sample_has_its_rows_and_lacks_one_video(sample: Manifest):
    assert sample.sample_id.tolist() == ["vid_0082", "vid_1575", "vid_1604", "vid_1695"]
    assert set(sample.source_id.tolist()) == {"90"}
    assert set(sample.split.tolist()) == {"train"}
    assert sample.fold.tolist() == [-1] * 4  # A single person cannot be parted.
    assert [clip is None for clip in sample.clip] == [False, False, False, True]
    report = check_manifest(sample, probe=True)
    assert not report.findings


def test_traits_are_mapped_and_neuroticism_is_turned_round(sample: Manifest, published: list[dict]):
    z = np.array([[row[key] for key in TRAIT_KEYS] for row in published])
    np.testing.assert_allclose(sample.targets[:, :4], 0.5 + z[:, :4] / 8)
    np.testing.assert_allclose(sample.targets[:, 4], 0.5 - z[:, 4] / 8)
    assert TRAITS[4] == "emotional_stability"


def test_the_other_seven_scores_are_raw(sample: Manifest, published: list[dict]):
    for key in SCORES:
        assert sample.extras[key].tolist() == [row[key] for row in published]
    assert sample.extras["facial_expression"].max() > 6  # Beyond what z / 8 would keep.
    assert sample.extras["question_id"].tolist() == ["1", "56", "57", "60"]
    assert set(sample.extras["duration"].tolist()) == {"short"}
    assert sample.extras["gender"].tolist() == [1, 1, 1, 1]


def test_times_leave_the_transcripts(sample: Manifest, published: list[dict]):
    for text, row in zip(sample.transcript, published, strict=True):
        assert "[0" not in text
        assert "\n" not in text
        assert len(text.split()) == len(row["transcript"].split()) - 3 * row["transcript"].count(
            " - 00:"
        )
    assert sample.transcript[0].startswith("Hello, I'm [NAME], a student")


def test_the_models_summary_is_read_into_nothing(
    tmp_path: Path, sample: Manifest, published: list[dict]
):
    manifest = import_corpus("recruitview", write_rows(tmp_path, [make_row(n) for n in range(4)]))
    write_manifest(manifest, tmp_path / "manifest.parquet")
    for rows in (read_manifest(tmp_path / "manifest.parquet"), sample):
        everything = repr(
            [rows.transcript, rows.provenance, {k: v.tolist() for k, v in rows.extras.items()}]
        )
        assert "SECRET" not in everything
        assert "gemini" not in everything
        assert "Overview" not in everything
    assert all("Overview" in row["gemini_summary"] for row in published)


def test_a_row_without_the_summary_is_the_same(tmp_path: Path):
    row = make_row(3)
    del row["gemini_summary"]
    without = import_corpus("recruitview", write_rows(tmp_path, [row]))
    with_it = import_corpus("recruitview", write_rows(tmp_path, [make_row(3)]))
    np.testing.assert_array_equal(without.targets, with_it.targets)
    assert without.transcript == with_it.transcript == ("Answer number 3.",)


def test_heavy_tails_are_cut_off_and_counted(tmp_path: Path):
    rows = [make_row(0, openness=6.3, neuroticism=9.0), make_row(2, extraversion=None)]
    manifest = import_corpus("recruitview", write_rows(tmp_path, rows))

    assert manifest.targets[0].tolist() == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert np.isnan(manifest.targets[1, TRAITS.index("extraversion")])
    assert manifest.provenance["cut off"] == "2 trait scores beyond ±4 of 10"


def test_folds_share_no_person(sample_folder: Path, tmp_path: Path):
    rows = [make_row(number) for number in range(60)]
    manifest = import_corpus("recruitview", write_rows(tmp_path, rows))

    assert np.bincount(manifest.fold).tolist() == [6] * 10
    assert all(len(set(manifest.fold[manifest.source_id == p])) == 1 for p in manifest.source_id)
    with (sample_folder / "gender_by_response.csv").open() as file:
        people = np.array([row["user_no"] for row in csv.DictReader(file)])
    folds = assign_folds(people)
    assert np.bincount(folds).max() - np.bincount(folds).min() <= 1
    assert all(len(np.unique(folds[people == person])) == 1 for person in np.unique(people))
    np.testing.assert_array_equal(folds, assign_folds(people))


def test_genders_may_be_absent_or_unknown(tmp_path: Path):
    folder = write_rows(tmp_path, [make_row(1), make_row(12)])
    assert "gender" not in import_corpus("recruitview", folder).extras

    genders = folder / "gender_by_response.csv"
    genders.write_text("response_id,user_no,question_id,gender\n12,6,1,0\n")
    assert import_corpus("recruitview", folder).extras["gender"].tolist() == [-1, 0]

    genders.write_text("response_id,user_no,question_id,gender\n12,7,1,0\n")
    with pytest.raises(DataError, match="line 2: response 12 has person 7, not 6"):
        import_corpus("recruitview", folder)


def test_clips_are_found_by_their_name_alone(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "vid_0001.mp4").touch()
    rows = [make_row(1), make_row(2, file_name="../../etc/passwd.mp4")]

    manifest = import_corpus("recruitview", write_rows(tmp_path, rows))

    assert manifest.clip == (str(tmp_path.resolve() / "elsewhere" / "vid_0001.mp4"), None)
    assert manifest.sample_id[1] == "passwd"


@pytest.mark.parametrize(
    ("row", "finding"),
    [
        ("{", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("3", "line 2: not a JSON object"),
        ({"id": "1"}, "line 2: 'agreeableness' is missing"),
        (make_row(1, openness="high"), "line 2: 'openness' is 'high', not a valid score"),
        (make_row(1, openness=float("nan")), "'openness' is nan"),
        (make_row(1, openness=10**400), "not a valid score"),
        (make_row(1, user_no=None), "'user_no' is None, not text"),
        (make_row(0), "'vid_0000' occurs twice"),
        (make_row(1, transcript="[00:09 - 00:03] Back."), "ends before it starts"),
        (make_row(1, transcript="[00:09 - 00:10] b\n[00:03 - 00:04] a"), "not ascending"),
        (make_row(1, transcript="[00:00 - 00:03] a [00:03 - 00:05] b"), "malformed timestamp"),
    ],
)
def test_damaged_rows_are_named(tmp_path: Path, row: object, finding: str):
    with pytest.raises(DataError) as caught:
        import_corpus("recruitview", write_rows(tmp_path, [make_row(0), row]))
    assert any(finding in line for line in caught.value.findings), caught.value.findings


def test_a_folder_without_the_corpus_is_told_what_belongs_there(tmp_path: Path):
    with pytest.raises(DataError, match="is not RecruitView") as caught:
        import_corpus("recruitview", tmp_path)
    assert caught.value.findings == ("expected metadata.jsonl",)
    with pytest.raises(DataError, match="there are no rows"):
        import_corpus("recruitview", write_rows(tmp_path, []))
