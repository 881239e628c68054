"""The importer of the AVI Challenge, on a corpus that is generated here in its format."""

from pathlib import Path

import numpy as np
import pytest

from mmperson.cli.data import stats
from mmperson.datasets import check_manifest, import_corpus, read_manifest, write_manifest
from mmperson.errors import DataError
from mmperson.traits import TRAITS

HEADER = (
    "id,age,gender,education,work_experience,Honesty-Humility,Extraversion,Agreeableness,"
    "Conscientiousness,Integrity,Collegiality,Social_versatility,Development_orientation,Hireability"
)
KINDS = ("generic", "generic", "personality", "personality", "personality", "personality")


def person(number: int) -> str:
    return f"{number:024x}"


def make_line(number: int, scores: str = "3.5,2,4,5,3,3,3,3,3.25") -> str:
    return f"{person(number)},{20 + number},Female,Master,{number},{scores}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve people in training, two in validation and one without scores in test."""
    train = [HEADER, *(make_line(number) for number in range(12))]
    (tmp_path / "train_data.csv").write_text("\n".join(train) + "\n")
    validation = [HEADER, make_line(12), make_line(13, "1,1,1,1,,,,,")]
    (tmp_path / "val_data.csv").write_text("\n".join(validation) + "\n")
    basics = ["id,age,gender,education,work_experience", f"{person(14)},30,Male,,2"]
    (tmp_path / "test_data_basic_information.csv").write_text("\n".join(basics) + "\n")
    for number in range(15):
        split = "train_data" if number < 12 else "val_data" if number < 14 else "test_data"
        (tmp_path / split).mkdir(exist_ok=True)
        for question, kind in enumerate(KINDS, start=1):
            (tmp_path / split / f"{person(number)}_q{question}_{kind}.mp4").touch()
    return tmp_path


def test_the_format_has_fourteen_columns():
    assert len(HEADER.split(",")) == len(make_line(0).split(",")) == 14


def test_every_answer_is_a_row_of_its_person(folder: Path):
    manifest = import_corpus("avi", folder)

    assert len(manifest) == 15 * 6
    assert [int((manifest.split == s).sum()) for s in ("train", "validation", "test")] == [
        72,
        12,
        6,
    ]
    assert manifest.sample_id[:2].tolist() == [f"{person(0)}_q1_generic", f"{person(0)}_q2_generic"]
    assert manifest.source_id[:7].tolist() == [person(0)] * 6 + [person(1)]
    assert manifest.extras["question"].tolist()[:6] == [1, 2, 3, 4, 5, 6]
    assert manifest.extras["kind"].tolist()[:6] == list(KINDS)
    assert all(Path(str(clip)).is_file() for clip in manifest.clip)


def test_folds_share_no_person(folder: Path):
    manifest = import_corpus("avi", folder)
    assert set(manifest.fold.tolist()) == set(range(10))
    assert all(len(set(manifest.fold[manifest.source_id == p])) == 1 for p in manifest.source_id)


def test_what_the_big_five_share_is_mapped_and_the_rest_is_unknown(folder: Path):
    manifest = import_corpus("avi", folder)

    values = dict(zip(TRAITS, manifest.targets[0], strict=True))
    assert values["conscientiousness"] == 1.0
    assert values["extraversion"] == 0.25
    assert values["agreeableness"] == 0.75
    assert np.isnan([values["openness"], values["emotional_stability"]]).all()
    assert np.isnan(manifest.where_split("test").targets).all()
    assert manifest.extras["Honesty-Humility"][0] == 3.5
    assert manifest.extras["Hireability"][0] == 3.25
    lowest = manifest.source_id == person(13)
    assert (manifest.targets[lowest, 1:4] == 0).all()
    assert np.isnan(manifest.extras["Hireability"][lowest]).all()


def test_other_columns_are_kept(folder: Path):
    extras = import_corpus("avi", folder).extras
    assert extras["age"].dtype == np.float64
    assert extras["age"][[0, -1]].tolist() == [20, 30]
    assert extras["gender"][[0, -1]].tolist() == ["Female", "Male"]
    assert extras["education"][-1] == ""


def test_missing_traits_are_what_the_check_names(folder: Path, tmp_path: Path):
    manifest = import_corpus("avi", folder)
    path = tmp_path / "avi.parquet"
    write_manifest(manifest, path)

    again = read_manifest(path)
    np.testing.assert_array_equal(again.targets, manifest.targets)
    np.testing.assert_array_equal(again.extras["question"], manifest.extras["question"])
    levels = {f.code: f.level for f in check_manifest(manifest, probe=False).findings}
    assert levels["trait-unlabelled"] == "warning"


def test_stats_show_what_is_known(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_manifest(import_corpus("avi", folder), tmp_path / "avi.parquet")
    stats(tmp_path / "avi.parquet")
    shown = capsys.readouterr().out
    assert "extraversion" in shown
    assert "openness" not in shown


def test_transcripts_beside_clips_are_read(folder: Path):
    (folder / "val_data" / f"{person(12)}_q3_personality.txt").write_text("I never  lie.")
    manifest = import_corpus("avi", folder)
    (row,) = np.flatnonzero(manifest.sample_id == f"{person(12)}_q3_personality")
    assert manifest.transcript[row] == "I never lie."
    assert sum(bool(text) for text in manifest.transcript) == 1


def test_clips_of_strangers_and_other_files_are_left_out(folder: Path):
    (folder / "train_data" / f"{person(99)}_q1_generic.mp4").touch()
    (folder / "train_data" / f"{person(1)}_q1_other.mp4").touch()
    (folder / "train_data" / "holiday.mp4").touch()
    for path in (folder / "train_data").glob(f"{person(3)}*"):
        path.unlink()

    manifest = import_corpus("avi", folder)

    assert len(manifest) == 14 * 6
    assert (
        manifest.provenance["left out"] == "1 clips of people in no table, 1 people without a clip"
    )


def test_the_training_table_alone_is_enough(folder: Path):
    (folder / "val_data.csv").unlink()
    (folder / "test_data_basic_information.csv").unlink()
    assert set(import_corpus("avi", folder).split.tolist()) == {"train"}


@pytest.mark.parametrize(
    ("table", "content", "finding"),
    [
        ("val_data.csv", f"{HEADER}\n{make_line(0)}\n", f"line 2: duplicate person {person(0)}"),
        (
            "val_data.csv",
            f"{HEADER}\n{make_line(12, '3,6,3,3,3,3,3,3,3')}\n",
            "val_data.csv, line 2: Extraversion is 6, outside [1, 5]",
        ),
        (
            "val_data.csv",
            f"{HEADER}\n{make_line(12, '3,3,3,3,3,3,3,3,0')}\n",
            "Hireability is 0, outside [1, 5]",
        ),
        ("val_data.csv", "id,age\nx,3\n", "lacks the columns Conscientiousness, Extraversion"),
        ("train_data.csv", "", "is empty"),
    ],
)
def test_damaged_tables_are_refused(folder: Path, table: str, content: str, finding: str):
    (folder / table).write_text(content)
    with pytest.raises(DataError) as caught:
        import_corpus("avi", folder)
    assert finding in str(caught.value)


def test_a_folder_without_the_corpus_is_told_what_belongs_there(tmp_path: Path):
    with pytest.raises(DataError, match="AVI corpus") as caught:
        import_corpus("avi", tmp_path)
    assert caught.value.findings == ("expected train_data.csv",)
    (tmp_path / "train_data.csv").write_text(f"{HEADER}\n{make_line(0)}\n")
    with pytest.raises(DataError, match="clip of the 1 people"):
        import_corpus("avi", tmp_path)
