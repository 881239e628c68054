"""The importer of YouTube Personality: the real corpus, and damaged copies of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets import Manifest, check_manifest, import_corpus
from mmperson.errors import DataError
from mmperson.traits import TRAITS

PREFIX = "YouTube-Personality-"
SCORES = f"{PREFIX}Personality_impression_scores.csv"
FEATURES = f"{PREFIX}audiovisual_features.csv"
GENDERS = f"{PREFIX}gender.csv"


@pytest.fixture(scope="module")
def published(shared_data: Path) -> Path:
    return shared_data / "youtube_personality"


@pytest.fixture(scope="module")
def vlogs(published: Path) -> Manifest:
    return import_corpus("youtube", published)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Scores of three vlogs, and nothing else."""
    scores = (
        "vlogId Extr Agr Cons Emot Open\nVLOG1 1 2 3 4 7\nVLOG3 5 5 4.6 5.3 4.4\nVLOG9 2 2 2 2 2"
    )
    (tmp_path / SCORES).write_text(scores + "\n")
    return tmp_path


def columns(path: Path) -> dict[str, list[str]]:
    """Read a file of the corpus another way than the importer does."""
    lines = [line.split() for line in path.read_text().splitlines() if line]
    return dict(zip(lines[0], map(list, zip(*lines[1:], strict=True)), strict=True))


def test_rows_and_folds(vlogs: Manifest):
    assert len(vlogs) == 404
    assert vlogs.sample_id[0] == vlogs.source_id[0] == "VLOG1"
    assert set(vlogs.split.tolist()) == {"train"}
    assert sorted(np.bincount(vlogs.fold).tolist()) == [40] * 6 + [41] * 4
    assert vlogs.clip == (None,) * 404
    assert np.isnan(vlogs.descriptors).all()
    assert not check_manifest(vlogs, probe=False).findings


def test_scores_are_mapped_trait_by_trait(vlogs: Manifest, published: Path):
    scores = columns(published / SCORES)
    assert vlogs.sample_id.tolist() == scores["vlogId"]
    for place, name in enumerate(("Open", "Cons", "Extr", "Agr", "Emot")):
        expected = (np.array(scores[name], dtype=float) - 1) / 6
        np.testing.assert_allclose(vlogs.targets[:, place], expected)


def test_the_fifth_trait_goes_with_agreeableness_as_only_stability_can(vlogs: Manifest):
    correlations = np.corrcoef(vlogs.targets, rowvar=False)[TRAITS.index("emotional_stability")]
    assert correlations[TRAITS.index("agreeableness")] > 0.6
    assert correlations[TRAITS.index("conscientiousness")] > 0.5


def test_features_keep_their_names_and_rows(vlogs: Manifest, published: Path):
    features = columns(published / FEATURES)
    audio = [name for name in vlogs.extras if name.startswith("audio.")]
    video = [name for name in vlogs.extras if name.startswith("video.")]
    assert (len(audio), len(video)) == (21, 4)
    assert all(name.startswith("video.hogv.") for name in video)
    for name in (*audio, *video):
        expected = np.array(features[name.split(".", 1)[1]], dtype=float)
        order = [features["vlogId"].index(vlog) for vlog in vlogs.sample_id]
        assert vlogs.extras[name].dtype == np.float64
        np.testing.assert_array_equal(vlogs.extras[name], expected[order])


def test_genders_and_transcripts(vlogs: Manifest):
    genders = vlogs.extras["gender"].tolist()
    assert (genders.count("Male"), genders.count("Female")) == (194, 210)
    assert vlogs.transcript[0].startswith("You know what I see - - no, more like hear")
    assert not any("\ufeff" in text for text in vlogs.transcript)
    assert all(text.strip() for text in vlogs.transcript)


def test_the_scores_alone_are_enough(folder: Path):
    manifest = import_corpus("youtube", folder)
    assert manifest.extras == {}
    assert manifest.transcript == ("", "", "")
    np.testing.assert_allclose(manifest.targets[0], [1.0, 1 / 3, 0.0, 1 / 6, 0.5])
    assert sorted(manifest.fold.tolist()) == [0, 1, 2]


def test_optional_files_may_be_in_another_order_and_lack_rows(folder: Path):
    (folder / FEATURES).write_text("vlogId mean.pitch hogv.entropy\nVLOG9 3 4\nVLOG1 1 2\n")
    (folder / GENDERS).write_text("vlogId gender\nVLOG3 Female\n")
    (folder / "transcripts").mkdir()
    (folder / "transcripts" / "VLOG9.txt").write_text("\ufeff\ufeffHello \ufeff there.\n", "utf-8")

    manifest = import_corpus("youtube", folder)

    np.testing.assert_array_equal(manifest.extras["audio.mean.pitch"], [1, np.nan, 3])
    np.testing.assert_array_equal(manifest.extras["video.hogv.entropy"], [2, np.nan, 4])
    assert manifest.extras["gender"].tolist() == ["", "Female", ""]
    assert manifest.transcript == ("", "", "Hello there.")


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        (SCORES, "vlogId Extr Agr Cons Emot Open\nVLOG1 1 2 3 4 7.5\n", "line 2: Open is 7.5"),
        (SCORES, "vlogId Extr Agr Cons Emot Open\nVLOG1 1 2 3 x 7\n", "line 2: Emot is 'x'"),
        (SCORES, "vlogId Extr Agr Cons Emot Open\nVLOG1 1 2 3 4\n", "line 2: 5 cells, not 6"),
        (SCORES, "vlogId Extr Agr Cons Emot\nVLOG1 1 2 3 4\n", "lacks the columns Open"),
        (SCORES, "vlogId Extr Agr Cons Emot Open\n../etc 1 2 3 4 5\n", "'../etc' is not a vlog"),
        (SCORES, "", "is empty"),
        (
            FEATURES,
            "vlogId mean.pitch\nVLOG1 1\nVLOG1 2\n",
            "VLOG1 is a duplicate of line 2",
        ),
        (FEATURES, "vlogId mean.pitch\nVLOG1 inf\n", "mean.pitch is 'inf', not a finite number"),
        (GENDERS, "vlog sex\nVLOG1 Male\n", "lacks the columns vlogId, gender"),
        (GENDERS, "vlogId gender gender\nVLOG1 Male Male\n", "'gender' occurs twice"),
    ],
)
def test_damaged_files_are_refused(folder: Path, name: str, content: str, finding: str):
    (folder / name).write_text(content)
    with pytest.raises(DataError) as caught:
        import_corpus("youtube", folder)
    assert finding in str(caught.value)


def test_files_that_are_no_tables_are_refused(folder: Path, published: Path):
    (folder / GENDERS).write_bytes(b"vlogId gender\nVLOG1 \xff\xfe\n")
    with pytest.raises(DataError, match=r"Line 2 .* not UTF-8"):
        import_corpus("youtube", folder)
    shutil.copy(published / GENDERS, folder / GENDERS)
    assert import_corpus("youtube", folder).extras["gender"].tolist()[:2] == ["Male", "Female"]


def test_a_folder_without_the_corpus_is_told_what_belongs_there(tmp_path: Path):
    with pytest.raises(DataError, match="is not YouTube Personality") as caught:
        import_corpus("youtube", tmp_path)
    assert caught.value.findings == (f"expected {SCORES}",)
