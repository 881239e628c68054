"""The importer of First Impressions V2: the real corpus, and small ones that lack something."""

import csv
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets import IMPORTERS, Manifest, import_corpus
from mmperson.errors import DataError, UnknownComponent
from mmperson.preprocessing.audio.descriptors import DESCRIPTORS
from mmperson.traits import TRAITS

CLIPS = {"training": "aaaaaaaaaaa.000", "validation": "-bbbbbbbbbb.001", "test": "_cccccccccc.002"}
COLUMNS = ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A corpus of one clip a split with labels and transcripts only."""
    for kind in ("annotation", "transcription"):
        (tmp_path / kind).mkdir()
    for number, (word, clip) in enumerate(CLIPS.items()):
        scores = {name: {f"{clip}.mp4": number + i / 10} for i, name in enumerate(COLUMNS)}
        scores["interview"] = {f"{clip}.mp4": 0.9}
        write_pickle(tmp_path / "annotation" / f"annotation_{word}.pkl", scores)
        texts = {f"{clip}.mp4": f"text of {word} "}
        write_pickle(tmp_path / "transcription" / f"transcription_{word}.pkl", texts)
    return tmp_path


def write_pickle(path: Path, content: dict) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def test_rows_and_splits(corpus: Manifest):
    assert [int((corpus.split == s).sum()) for s in ("train", "validation", "test")] == [
        6000,
        2000,
        2000,
    ]
    assert len(np.unique(corpus.sample_id)) == 10_000
    assert len(np.unique(corpus.source_id)) == 3_060
    assert all(len(source) == 11 for source in corpus.source_id)
    assert not any(name.endswith(".mp4") for name in corpus.sample_id)
    assert corpus.targets.min() >= 0
    assert corpus.targets.max() <= 1


def test_labels_are_the_files_own(corpus: Manifest, first_impressions: Path):
    path = first_impressions / "annotation" / "annotation_test.pkl"
    labels = pickle.loads(path.read_bytes(), encoding="latin1")
    test = corpus.where_split("test")
    for row in (0, 999, 1999):
        name = f"{test.sample_id[row]}.mp4"
        assert test.targets[row].tolist() == [labels[column][name] for column in COLUMNS]
        assert test.extras["interview"][row] == labels["interview"][name]


def test_the_fifth_trait_is_stability_not_neuroticism(corpus: Manifest):
    train = corpus.where_split("train")
    labels = np.column_stack([train.targets, train.extras["interview"]])
    correlations = np.corrcoef(labels, rowvar=False)[TRAITS.index("emotional_stability")]

    others = np.delete(correlations, TRAITS.index("emotional_stability"))
    assert others.min() == pytest.approx(0.72, abs=0.005)
    assert others.max() == pytest.approx(0.88, abs=0.005)


def test_optional_parts_of_the_real_corpus(corpus: Manifest):
    assert {int(f): int((corpus.fold == f).sum()) for f in np.unique(corpus.fold)}[-1] == 31
    assert set(corpus.fold.tolist()) == {-1, *range(10)}
    in_folds = np.unique(corpus.source_id[corpus.fold >= 0])
    assert len(in_folds) == 3_052
    assert set(corpus.extras["age_group"].tolist()) == set(range(1, 9))
    assert sum(not text.strip() for text in corpus.transcript) == 11
    clips = {Path(clip).name for clip in corpus.clip if clip}
    assert len(clips) == 7
    assert "-AmMDnVl4s8.003.mp4" in clips
    known = np.isfinite(corpus.descriptors).all(axis=1)
    assert [int(known[corpus.split == s].sum()) for s in ("train", "validation", "test")] == [
        5998,
        2000,
        0,
    ]
    assert np.isnan(corpus.descriptors[~known]).all()


def test_descriptors_are_in_their_order(corpus: Manifest, first_impressions: Path):
    with (first_impressions / "audio_features" / "audio_validation.csv").open() as file:
        published = next(csv.DictReader(file))
    (row,) = np.flatnonzero(corpus.sample_id == published["filename"])
    found = dict(zip(DESCRIPTORS, corpus.descriptors[row].tolist(), strict=True))

    assert found["rms"] == pytest.approx(float(published["rmse"]))
    assert found["spectral_rolloff"] == pytest.approx(float(published["rolloff"]))
    assert found["mfcc20"] == pytest.approx(float(published["mfcc20"]))


def test_labels_and_transcripts_are_enough(folder: Path):
    manifest = import_corpus("first-impressions", folder)

    assert manifest.sample_id.tolist() == list(CLIPS.values())
    assert manifest.source_id.tolist() == ["aaaaaaaaaaa", "-bbbbbbbbbb", "_cccccccccc"]
    assert manifest.split.tolist() == ["train", "validation", "test"]
    np.testing.assert_allclose(manifest.targets[1], [1.0, 1.1, 1.2, 1.3, 1.4])
    assert manifest.transcript[0] == "text of training "  # The official text, unchanged.
    assert manifest.fold.tolist() == [-1, -1, -1]
    assert manifest.clip == (None, None, None)
    assert np.isnan(manifest.descriptors).all()
    assert manifest.extras.keys() == {"interview"}
    assert len(manifest.provenance["sha256 annotation_test.pkl"]) == 64


def test_clips_are_found_in_any_folder(folder: Path):
    for place in ("test/deep", "zzz"):
        (folder / place).mkdir(parents=True)
        (folder / place / f"{CLIPS['test']}.mp4").touch()
    (folder / "unrelated.mp4").touch()
    (folder / f"{CLIPS['validation']}.mp4").touch()

    manifest = import_corpus("first-impressions", folder)

    here = folder.resolve()
    assert manifest.clip == (
        None,
        str(here / f"{CLIPS['validation']}.mp4"),
        str(here / "test" / "deep" / f"{CLIPS['test']}.mp4"),
    )


def test_names_may_lack_the_extension(folder: Path):
    (folder / "audio_features").mkdir()
    header = ["filename", *DESCRIPTORS]
    header[header.index("rms")] = "rmse"
    header[header.index("spectral_rolloff")] = "rolloff"
    lines = [header, [CLIPS["test"], *range(26)], [f"{CLIPS['validation']}.mp4", *range(1, 27)]]
    with (folder / "audio_features" / "audio_test.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    (folder / "age_groups.csv").write_text(f"file_name,age_group\n{CLIPS['test']},7\n")
    (folder / "source_disjoint_folds.txt").write_text("['-bbbbbbbbbb']\n['_cccccccccc', 'x']\n")

    manifest = import_corpus("first-impressions", folder)

    assert manifest.descriptors[:, 3].tolist()[1:] == [4.0, 3.0]
    assert manifest.extras["age_group"].tolist() == [-1, -1, 7]
    assert manifest.fold.tolist() == [-1, 0, 1]


def test_interview_is_absent_from_version_1(folder: Path):
    for word, clip in CLIPS.items():
        scores = {name: {clip: 0.5} for name in COLUMNS}
        write_pickle(folder / "annotation" / f"annotation_{word}.pkl", scores)

    manifest = import_corpus("first-impressions", folder)

    assert np.isnan(manifest.extras["interview"]).all()
    assert manifest.transcript[2] == "text of test "


def test_an_empty_folder_is_told_what_belongs_there(tmp_path: Path):
    with pytest.raises(DataError, match="6 of the 6") as caught:
        import_corpus("first-impressions", tmp_path)
    assert "expected annotation/annotation_training.pkl" in caught.value.findings


@pytest.mark.parametrize("name", ["annotation/annotation_test", "transcription/transcription_test"])
def test_one_missing_file_is_named(folder: Path, name: str):
    (folder / f"{name}.pkl").unlink()

    with pytest.raises(DataError) as caught:
        import_corpus("first-impressions", folder)
    assert caught.value.findings == (f"expected {name}.pkl",)


def test_missing_and_uneven_columns_are_named(folder: Path):
    path = folder / "annotation" / "annotation_test.pkl"
    scores = {name: {"c.mp4": 0.5} for name in COLUMNS}

    write_pickle(path, {name: scores[name] for name in COLUMNS[:3]})
    with pytest.raises(DataError, match="lacks the columns agreeableness, neuroticism"):
        import_corpus("first-impressions", folder)

    write_pickle(path, scores | {"extraversion": {"other.mp4": 0.5}})
    with pytest.raises(DataError, match="other clips in extraversion"):
        import_corpus("first-impressions", folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("source_disjoint_folds.txt", "['a']\n__import__('os')\n", "Line 2 .* not a Python list"),
        ("source_disjoint_folds.txt", "(" * 100_000, "Line 1 .* not a Python list"),
        ("source_disjoint_folds.txt", "[1, 2]\n", "not a list of video ids"),
        ("source_disjoint_folds.txt", "['a']\n['b', 'a']\n", "'a' in two folds"),
        ("source_disjoint_folds.txt", " " * 2_000_000, "larger than"),
        ("age_groups.csv", "name,age\na,1\n", "lacks the columns file_name, age_group"),
        ("age_groups.csv", "file_name,age_group\na,1\nb,old\n", "line 3: "),
        ("age_groups.csv", "file_name,age_group\nb\n", "line 2: "),
        ("audio_features/audio_test.csv", "filename\n", "lacks the columns chroma_stft"),
    ],
)
def test_damaged_optional_files_are_refused(folder: Path, name: str, content: str, message: str):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content)

    with pytest.raises(DataError, match=message):
        import_corpus("first-impressions", folder)


def test_a_hostile_annotation_is_refused(folder: Path, first_impressions: Path):
    shutil.copy(
        first_impressions / "annotation" / "annotation_test.pkl",
        folder / "annotation" / "annotation_training.pkl",
    )
    (folder / "annotation" / "annotation_test.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")

    with pytest.raises(DataError, match=r"annotation_test\.pkl.*os system"):
        import_corpus("first-impressions", folder)


def test_unknown_corpora_are_refused(tmp_path: Path):
    with pytest.raises(UnknownComponent, match="Did you mean 'first-impressions'"):
        import_corpus("first-impression", tmp_path)
    assert set(IMPORTERS) == {"avi", "first-impressions", "folder", "recruitview", "youtube"}
