"""The table of clips and its file."""

import builtins
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmperson.datasets import SPLITS, Manifest, check_manifest, read_manifest, write_manifest
from mmperson.errors import DataError, MissingExtra
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS


def assert_same(left: Manifest, right: Manifest) -> None:
    for name in ("sample_id", "source_id", "split", "fold", "targets", "descriptors"):
        expected, found = getattr(left, name), getattr(right, name)
        np.testing.assert_array_equal(expected, found, err_msg=name)
        assert expected.dtype.kind == found.dtype.kind, name
    assert left.targets.dtype == right.targets.dtype
    assert left.descriptors.dtype == right.descriptors.dtype
    assert left.clip == right.clip
    assert left.transcript == right.transcript
    assert left.provenance == right.provenance
    assert left.extras.keys() == right.extras.keys()
    for name, column in left.extras.items():
        np.testing.assert_array_equal(column, right.extras[name], err_msg=name)
        assert column.dtype.kind == right.extras[name].dtype.kind, name


# numpy drops NUL at the end of a string, and lone surrogates are no text.
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    rows = draw(st.integers(0, 5))

    def column(values: st.SearchStrategy[str]) -> list[str]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    clips = st.none() | _TEXT.map(lambda name: f"/corpus/{name.replace('/', '-')}.mp4")
    return Manifest(
        sample_id=np.array(column(_TEXT), dtype=np.str_),
        source_id=np.array(column(_TEXT), dtype=np.str_),
        split=np.array(column(st.sampled_from(SPLITS)), dtype=np.str_),
        fold=draw(arrays.arrays(np.int64, rows)),
        clip=tuple(draw(st.lists(clips, min_size=rows, max_size=rows))),
        transcript=tuple(column(_TEXT)),
        targets=draw(arrays.arrays(np.float64, (rows, len(TRAITS)))),
        descriptors=draw(arrays.arrays(np.float32, (rows, len(DESCRIPTORS)), fill=st.just(0))),
        extras={
            "interview": draw(arrays.arrays(np.float64, rows)),
            "age_group": draw(arrays.arrays(np.int64, rows)),
            "gender": np.array(column(_TEXT), dtype=np.str_),
        },
        provenance=draw(st.dictionaries(_TEXT, _TEXT, max_size=3)),
    )


@given(manifests())
@settings(deadline=None, max_examples=50)
def test_reading_returns_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
):
    path = tmp_path_factory.mktemp("manifest") / "corpus.parquet"

    write_manifest(manifest, path)

    assert_same(manifest, read_manifest(path))
    assert [file.name for file in path.parent.iterdir()] == ["corpus.parquet"]


def test_the_real_corpus_survives_and_is_fast(corpus: Manifest, tmp_path: Path):
    path = tmp_path / "new" / "corpus.parquet"
    write_manifest(corpus, path)

    start = time.process_time()
    again = read_manifest(path)

    assert time.process_time() - start < 1.0
    assert_same(corpus, again)


def test_clips_move_with_the_manifest(make_manifest: Callable[..., Manifest], tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    inside, outside = str(old / "clips" / "-a.mp4"), str(tmp_path / "elsewhere" / "b.mp4")
    write_manifest(make_manifest(3, clip=(inside, outside, None)), old / "corpus.parquet")

    old.rename(new)

    clips = read_manifest(new / "corpus.parquet").clip
    assert clips == (str(new / "clips" / "-a.mp4"), outside, None)


def test_a_relative_clip_starts_from_the_folder_of_the_manifest(
    make_manifest: Callable[..., Manifest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_manifest(make_manifest(1, clip=("clips/a.mp4",)), tmp_path / "corpus.parquet")
    monkeypatch.chdir(tmp_path)

    assert read_manifest("corpus.parquet").clip == (str(tmp_path / "clips" / "a.mp4"),)


def test_any_parquet_reader_can_use_it(make_manifest: Callable[..., Manifest], tmp_path: Path):
    manifest = make_manifest(extras={"interview": np.linspace(0, 1, 6)})
    write_manifest(manifest, tmp_path / "corpus.parquet")

    table = pq.read_table(tmp_path / "corpus.parquet")

    assert table["openness"].to_pylist() == manifest.targets[:, 0].tolist()
    assert table["extra.interview"].to_pylist() == manifest.extras["interview"].tolist()
    assert table["descriptors"].to_pylist() == manifest.descriptors.tolist()
    facts = json.loads(table.schema.metadata[b"mmperson.manifest"])
    assert facts["schema_version"] == 1
    assert facts["descriptors"] == list(DESCRIPTORS)


def test_select_takes_masks_and_row_numbers(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest(6, extras={"interview": np.arange(6.0)})

    masked = manifest.select(manifest.split == "test")
    picked = manifest.select([5, 0, 0])

    assert masked.sample_id.tolist() == ["video000002.000", "video000005.000"]
    assert masked.transcript == ("words of clip 2", "words of clip 5")
    assert picked.extras["interview"].tolist() == [5, 0, 0]
    np.testing.assert_array_equal(picked.targets[0], manifest.targets[5])
    np.testing.assert_array_equal(picked.descriptors[1], manifest.descriptors[0])
    assert len(manifest.select([])) == 0
    with pytest.raises(ValueError, match=r"shape \(6,\) is needed"):
        manifest.select(np.ones(5, dtype=bool))


def test_where_split_knows_three_splits(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest(6)

    assert [len(manifest.where_split(name)) for name in SPLITS] == [2, 2, 2]
    with pytest.raises(DataError, match=r"'dev'.*train, validation, test"):
        manifest.where_split("dev")


@pytest.mark.parametrize(
    ("column", "value", "finding"),
    [
        ("targets", np.zeros((6, 4)), "'targets' has shape (6, 4), not (6, 5)"),
        ("targets", np.zeros((5, 5)), "'targets' has shape (5, 5), not (6, 5)"),
        ("descriptors", np.zeros((6, 25)), "'descriptors' has shape (6, 25), not (6, 26)"),
        ("fold", np.zeros(7), "'fold' has shape (7,), not (6,)"),
        ("clip", (None,), "'clip' has shape (1,), not (6,)"),
        ("extras", {"age": np.zeros(2)}, "'age' has shape (2,), not (6,)"),
        ("split", np.array(["dev"] * 6), "'dev' is not a split; there are train, validation, test"),
    ],
)
def test_columns_must_fit(
    make_manifest: Callable[..., Manifest], column: str, value: object, finding: str
):
    with pytest.raises(DataError) as caught:
        make_manifest(6, **{column: value})
    assert caught.value.findings == (finding,)


@pytest.fixture
def table(make_manifest: Callable[..., Manifest], tmp_path: Path) -> pa.Table:
    write_manifest(make_manifest(), tmp_path / "good.parquet")
    return pq.read_table(tmp_path / "good.parquet")


def refused(table: pa.Table, folder: Path) -> DataError:
    pq.write_table(table, folder / "bad.parquet")
    with pytest.raises(DataError, match=r"bad\.parquet") as caught:
        read_manifest(folder / "bad.parquet")
    return caught.value


def test_missing_columns_are_named(table: pa.Table, tmp_path: Path):
    error = refused(table.drop_columns(["fold", "openness"]), tmp_path)
    assert error.findings == ("the column 'fold' is missing", "the column 'openness' is missing")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sample_id", [1] * 6),
        ("source_id", [None] * 6),
        ("openness", ["high"] * 6),
        ("descriptors", [[0.0] * 25] * 6),
        ("split", ["dev"] * 6),
    ],
)
def test_columns_of_another_type_are_refused(table: pa.Table, tmp_path: Path, name, values):
    place = table.schema.names.index(name)
    assert refused(table.set_column(place, name, pa.array(values)), tmp_path).findings


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"schema_version": 99}, "schema_version 99; this mmperson reads 1"),
        ({"schema_version": 1, "descriptors": ["pitch"]}, r"descriptors \['pitch'\]"),
    ],
)
def test_another_schema_is_refused(table: pa.Table, tmp_path: Path, facts: dict, message: str):
    other = table.replace_schema_metadata({"mmperson.manifest": json.dumps(facts)})
    with pytest.raises(DataError, match=message):
        raise refused(other, tmp_path)


def test_other_files_are_refused(table: pa.Table, tmp_path: Path):
    assert "not a manifest" in str(refused(table.replace_schema_metadata(None), tmp_path))
    (tmp_path / "text.parquet").write_text("sample_id,split")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_manifest(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="There is no manifest"):
        read_manifest(tmp_path / "absent.parquet")


def test_a_missing_pyarrow_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    real_import = builtins.__import__

    def without_pyarrow(name: str, *rest: object) -> object:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(MissingExtra, match=r"mmperson\[parquet\]"):
        read_manifest(tmp_path / "corpus.parquet")


def rewritten(path: Path, **columns: pa.Array) -> Path:
    """Put other columns into a manifest's file."""
    table = pq.read_table(path)
    for name, column in columns.items():
        table = table.set_column(table.schema.names.index(name), name, column)
    pq.write_table(table, path)
    return path


ODD = {
    "nulls": pa.nulls(2),
    "some nulls": pa.array([1, None]),
    "floats": pa.array([1.5, float("nan")]),
    "bytes": pa.array([b"\xff", b""]),
    "lists": pa.array([[1.0], [1.0] * 51]),
    "structs": pa.array([{"a": 1}, {"a": 2}]),
    "large numbers": pa.array([2**63, 0], pa.uint64()),
    "odd names": pa.array(["a\0b", "x" * 5000]),
    "durations": pa.array([1, 2], pa.duration("s")),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_column_of_any_type_is_read_or_refused(
    make_manifest: Callable[..., Manifest], tmp_path: Path, odd: str
):
    path = tmp_path / "corpus.parquet"
    names = ("sample_id", "split", "fold", "clip", "transcript", TRAITS[0], "descriptors")
    for name in names:
        write_manifest(make_manifest(2), path)
        with contextlib.suppress(DataError):
            check_manifest(read_manifest(rewritten(path, **{name: ODD[odd]})), probe=True)


@pytest.mark.parametrize("fold", ["floats", "some nulls"])
def test_folds_are_whole_numbers(make_manifest: Callable[..., Manifest], tmp_path: Path, fold: str):
    write_manifest(make_manifest(2), tmp_path / "corpus.parquet")
    with pytest.raises(DataError, match="folds"):
        read_manifest(rewritten(tmp_path / "corpus.parquet", fold=ODD[fold]))


@pytest.mark.parametrize(
    "facts", [b"{", b"\xff", b"[" * 100_000, b"[]", b'{"schema_version": 1}', b'{"a": 1}']
)
def test_damaged_facts_are_an_error(
    make_manifest: Callable[..., Manifest], tmp_path: Path, facts: bytes
):
    path = tmp_path / "corpus.parquet"
    write_manifest(make_manifest(2), path)
    table = pq.read_table(path).replace_schema_metadata({b"mmperson.manifest": facts})
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"corpus\.parquet"):
        read_manifest(path)


def test_two_columns_of_one_name_are_an_error(
    make_manifest: Callable[..., Manifest], tmp_path: Path
):
    path = tmp_path / "corpus.parquet"
    write_manifest(make_manifest(2), path)
    table = pq.read_table(path)
    pq.write_table(table.append_column("fold", table["fold"]), path)
    with pytest.raises(DataError, match="duplicate column names"):
        read_manifest(path)
