"""The importer of a folder of your own, with every way in which a table can be wrong."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmperson.cli.data import stats
from mmperson.datasets import Manifest, check_manifest, import_corpus, read_manifest, write_manifest
from mmperson.datasets.tables import MAX_FINDINGS
from mmperson.errors import DataError
from mmperson.traits import TRAITS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three empty clips, one of them deeper down."""
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.mp4", "b.mov", "deep/c.mp4"):
        (folder / name).touch()
    return folder


def import_table(folder: Path, table: str) -> Manifest:
    (folder / "manifest.csv").write_text(table, encoding="utf-8")
    return import_corpus("folder", folder)


def test_path_and_one_trait_are_enough(folder: Path):
    manifest = import_table(folder, "path,openness\na.mp4,0.25\nb.mov,1\ndeep/c.mp4,\n")

    assert manifest.sample_id.tolist() == ["a", "b", "deep/c"]
    assert manifest.source_id.tolist() == ["a", "b", "deep/c"]
    assert manifest.split.tolist() == ["train"] * 3
    assert sorted(manifest.fold.tolist()) == [0, 1, 2]
    assert manifest.clip[2] == str(folder.resolve() / "deep" / "c.mp4")
    np.testing.assert_array_equal(manifest.targets[:, 0], [0.25, 1.0, np.nan])
    assert np.isnan(manifest.targets[:, 1:]).all()
    assert manifest.extras == {}


def test_every_column_has_its_place(folder: Path):
    header = f"{','.join(TRAITS)},path,person,split,transcript,question,audio.pitch"
    rows = [
        '.1,.2,.3,.4,.5,a.mp4,ann,train,"Hello, ""world""",Who?,180.5',
        ".5,.4,.3,.2,.1,b.mov,bob,validation,,Why?,",
        "0,1,0,1,0,deep/c.mp4,ann,train,c,Who?,1e3",
    ]
    manifest = import_table(folder, "\n".join([header, *rows]))

    np.testing.assert_allclose(manifest.targets[0], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert manifest.source_id.tolist() == ["ann", "bob", "ann"]
    assert manifest.fold[0] == manifest.fold[2] != manifest.fold[1]
    assert manifest.split.tolist() == ["train", "validation", "train"]
    assert manifest.transcript == ('Hello, "world"', "", "c")
    assert manifest.extras["question"].tolist() == ["Who?", "Why?", "Who?"]
    np.testing.assert_array_equal(manifest.extras["audio.pitch"], [180.5, np.nan, 1000.0])
    assert not [f for f in check_manifest(manifest, probe=False).findings if f.level == "error"]


def test_a_manifest_of_it_survives_the_disk(folder: Path, tmp_path: Path):
    manifest = import_table(folder, "path,openness,mood\na.mp4,.5,good\nb.mov,.4,\n")
    write_manifest(manifest, tmp_path / "mine.parquet")
    again = read_manifest(tmp_path / "mine.parquet")
    assert again.clip == manifest.clip
    assert again.extras["mood"].tolist() == ["good", ""]


def test_scales_and_neuroticism(folder: Path):
    table = "path,extraversion [1 to 7],neuroticism [-4 to 4],openness\na.mp4,4,3,0\nb.mov,7,-4,1\n"
    manifest = import_table(folder, table)
    values = [dict(zip(TRAITS, row, strict=True)) for row in manifest.targets]
    assert [row["extraversion"] for row in values] == [0.5, 1.0]
    assert [row["emotional_stability"] for row in values] == [0.125, 1.0]
    assert manifest.extras == {}


def test_the_words_beside_a_clip_stand_in(folder: Path):
    (folder / "a.txt").write_text("Beside.")
    (folder / "b.txt").write_text("Not read.")
    manifest = import_table(folder, "path,openness,transcript\na.mp4,1,\nb.mov,1,Given.\n")
    assert manifest.transcript == ("Beside.", "Given.")

    (folder / "a.txt").unlink()
    (folder / "a.srt").write_text("no times")
    with pytest.raises(DataError, match=r"line 2: 'a.srt', line 1"):
        import_table(folder, "path,openness\na.mp4,1\n")


def test_parquet_reads_like_csv(folder: Path):
    columns = {
        "path": ["a.mp4", "b.mov"],
        "openness": pa.array([0.25, None], pa.float32()),
        "person": [7, 8],
        "take": [1, 2],
        "mood": ["good", None],
    }
    pq.write_table(pa.table(columns), folder / "manifest.parquet")
    manifest = import_corpus("folder", folder)

    np.testing.assert_array_equal(manifest.targets[:, 0], [0.25, np.nan])
    assert manifest.source_id.tolist() == ["7", "8"]
    assert manifest.extras["take"].tolist() == [1.0, 2.0]
    assert manifest.extras["mood"].tolist() == ["good", ""]

    pq.write_table(pa.table(columns | {"openness": [0.5, 1.5]}), folder / "manifest.parquet")
    with pytest.raises(DataError, match=r"row 2: openness is 1.5, outside \[0, 1\]"):
        import_corpus("folder", folder)
    (folder / "manifest.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="not a readable Parquet"):
        import_corpus("folder", folder)


@pytest.mark.parametrize(
    ("path", "finding"),
    [
        ("../mine/a.mp4", "must not contain '..'"),
        ("deep/../a.mp4", "must not contain '..'"),
        ("/etc/passwd", "is absolute"),
        ("C:/a.mp4", "is absolute"),
        ("\\\\host\\a.mp4", "is absolute"),
        ("deep\\c.mp4", "backslashes"),
        ("link.mp4", "a link to outside the folder"),
        ("linked/x.mp4", "a link to outside the folder"),
        ("deep", "there is no clip 'deep'"),
        ("none.mp4", "there is no clip 'none.mp4'"),
        (" ", "path is empty"),
        ("x" * 5000, "there is no clip"),
    ],
)
def test_paths_stay_in_the_folder(folder: Path, tmp_path: Path, path: str, finding: str):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.mp4").touch()
    (folder / "link.mp4").symlink_to(outside / "x.mp4")
    (folder / "linked").symlink_to(outside)

    with pytest.raises(DataError) as caught:
        import_table(folder, f"path,openness\na.mp4,0\n{path},0\n")
    (found,) = caught.value.findings
    assert found.startswith("line 3: ")
    assert finding in found


def test_a_transcript_stays_in_the_folder_too(folder: Path, tmp_path: Path):
    (tmp_path / "secret").write_text("A password.")
    (folder / "a.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError) as caught:
        import_table(folder, "path,openness\na.mp4,0\n")
    assert caught.value.findings == ("line 2: 'a.txt' is a link to outside the folder",)
    given = import_table(folder, "path,openness,transcript\na.mp4,0,Given.\n")
    assert given.transcript == ("Given.",)


def test_links_within_the_folder_are_followed(folder: Path):
    (folder / "again.mp4").symlink_to(folder / "deep" / "c.mp4")
    assert len(import_table(folder, "path,openness\nagain.mp4,0\n")) == 1


def test_all_findings_come_at_once(folder: Path):
    table = (
        "path,openness,agreeableness [5 to 1],neuroticism,emotional_stability,person,split\n"
        "a.mp4,1.01,1,0,0,ann,train\n"
        "a.mp4,-0.1,1,0,0,,train\n"
        "none.mp4,high,1,0,0,bob,dev\n"
    )
    with pytest.raises(DataError) as caught:
        import_table(folder, table)
    assert set(caught.value.findings) == {
        "line 4: there is no clip 'none.mp4'",
        "'a' names two clips",
        "line 2: openness is 1.01, outside [0, 1]",
        "line 3: openness is -0.1, outside [0, 1]",
        "line 4: openness is 'high', not a finite number",
        "the scale of 'agreeableness [5 to 1]' must be ascending",
        "'neuroticism' and 'emotional_stability' both define emotional_stability",
        "line 3: person is empty",
        "line 4: split is 'dev'; there are train, validation, test",
    }


def test_one_clip_cannot_be_named_in_two_ways(folder: Path):
    with pytest.raises(DataError, match="'a' names two clips"):
        import_table(folder, "path,openness\na.mp4,0\n./a.mp4,0\n")


def test_a_thousand_findings_are_counted(folder: Path):
    lines = [f"a.mp4,{2 + number}" for number in range(1000)]
    with pytest.raises(DataError) as caught:
        import_table(folder, "\n".join(["path,openness", *lines]))
    assert len(caught.value.findings) == MAX_FINDINGS + 1
    assert caught.value.findings[-1] == "and 961 more"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is empty"),
        ("clip,openness\na.mp4,0\n", "lacks the columns path; it has clip, openness"),
        ("path,mood\na.mp4,0\n", "no trait column"),
        ("path,Openness\na.mp4,0\n", "no trait column"),
        ("path,openness\n", "there are no rows"),
        ("path,openness\na.mp4,0,1\n", "line 2: 3 cells, not 2"),
        ("path,openness,\na.mp4,0,1\n", "column 3 has no name"),
        ("path,openness\na.mp4,nan\n", "openness is 'nan', not a finite number"),
        ("path,openness\na.mp4,1_0\n", "openness is '1_0', not a finite number"),
        (f'path,openness\na.mp4,"{"x" * 200_000}"\n', "Line 2 .* is malformed"),
    ],
)
def test_wrong_tables_are_refused(folder: Path, table: str, message: str):
    with pytest.raises(DataError, match=message):
        import_table(folder, table)


def test_one_table_is_needed_and_of_bounded_size(folder: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="it has neither"):
        import_corpus("folder", folder)
    import_table(folder, "path,openness\na.mp4,0\nb.mov,1\n")
    monkeypatch.setattr("mmperson.datasets.tables.MAX_ROWS", 1)
    with pytest.raises(DataError, match="more than 1 rows"):
        import_corpus("folder", folder)
    monkeypatch.setattr("mmperson.datasets.tables.MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger than 10 bytes"):
        import_corpus("folder", folder)
    (folder / "manifest.parquet").touch()
    with pytest.raises(DataError, match="it has both"):
        import_corpus("folder", folder)


def test_stats_need_no_test_split(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    header = f"path,split,{','.join(TRAITS)}\n"
    rows = (
        "a.mp4,train,.1,.2,.3,.4,.5\nb.mov,train,.5,.5,.5,.5,.4\ndeep/c.mp4,validation,0,0,0,0,0\n"
    )
    write_manifest(import_table(folder, header + rows), tmp_path / "mine.parquet")
    stats(tmp_path / "mine.parquet", "json")
    baselines = json.loads(capsys.readouterr().out)["baselines"]
    assert baselines.keys() == {"validation"}
    assert baselines["validation"].keys() == {"official", "unseen"}


def test_real_clips_pass_the_check(folder: Path, shared_data: Path):
    clip = next((shared_data / "first_impressions_v2" / "clips").glob("*.mp4"))
    (folder / "real.mp4").write_bytes(clip.read_bytes())
    header = f"path,{','.join(TRAITS)},transcript\n"
    manifest = import_table(folder, header + "real.mp4,.1,.2,.3,.4,.5,Hello.\n")
    report = check_manifest(manifest, probe=True)
    assert not report.findings
    assert report.splits["train"].clips == 1
