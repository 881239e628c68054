"""What `check_manifest` finds, one flaw at a time, and on the real corpus."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmperson.datasets import Manifest, check_manifest
from mmperson.datasets.checks import EXAMPLES


def found(manifest: Manifest, *, probe: bool = False) -> dict[str, tuple[str, int]]:
    report = check_manifest(manifest, probe=probe)
    assert {f.level for f in report.errors} <= {"error"}
    return {f.code: (f.level, f.count) for f in report.findings}


def test_nothing_is_found_where_nothing_is_wrong(make_manifest: Callable[..., Manifest]):
    report = check_manifest(make_manifest(120), probe=False)

    assert report.findings == ()
    assert report.to_dict()["ok"] is True


def test_the_facts_of_the_real_corpus(corpus: Manifest):
    report = check_manifest(corpus, probe=False)

    assert not report.errors
    assert {name: facts.rows for name, facts in report.splits.items()} == {
        "train": 6000,
        "validation": 2000,
        "test": 2000,
    }
    assert report.splits["validation"].unseen_source == 326
    assert report.splits["test"].unseen_source == 320
    for split in ("validation", "test"):
        facts = report.splits[split]
        assert facts.seen_source / facts.rows == pytest.approx(0.84, abs=0.005)
    assert report.splits["train"].descriptors == 5998
    assert sum(facts.clips for facts in report.splits.values()) == 7
    assert sum(10_000 - facts.transcripts for facts in report.splits.values()) == 2 * 10_000 + 11
    codes = {finding.code: finding for finding in report.warnings}
    assert codes.keys() == {
        "transcript-blank",
        "transcript-duplicate",
        "leakage-validation",
        "leakage-test",
        "fold-coverage",
    }
    assert codes["transcript-blank"].count == 11
    assert "84%" in codes["leakage-test"].message
    assert "8 source videos" in codes["fold-coverage"].message
    assert len(codes["leakage-test"].examples) == EXAMPLES
    assert json.loads(json.dumps(report.to_dict()))["splits"]["test"]["unseen_source"] == 320


def test_the_real_clips_can_be_opened(corpus: Manifest):
    with_clip = corpus.select([clip is not None for clip in corpus.clip])
    calls: list[tuple[int, int]] = []

    report = check_manifest(with_clip, probe=True, progress=lambda *call: calls.append(call))

    assert report.probed
    assert not report.errors
    assert calls == [(done, 7) for done in range(1, 8)]


def test_an_empty_manifest_is_an_error(make_manifest: Callable[..., Manifest]):
    assert found(make_manifest(0)) == {"empty": ("error", 0)}


def test_duplicate_samples(make_manifest: Callable[..., Manifest]):
    names = np.array(["a", "b", "a", "a", "c", "c"])
    report = check_manifest(make_manifest(sample_id=names), probe=False)

    (finding,) = report.errors
    assert (finding.code, finding.count, finding.examples) == ("duplicate-sample", 2, ("a", "c"))


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (np.inf, "label-range"),
        (1.01, "label-range"),
        (-1, "label-range"),
    ],
)
def test_labels_out_of_range(make_manifest: Callable[..., Manifest], value: float, code: str):
    manifest = make_manifest()
    manifest.targets[2, 3] = value

    report = check_manifest(manifest, probe=False)

    finding = next(f for f in report.errors if f.code == code)
    assert finding.examples == ("video000002.000",)
    assert "agreeableness" in finding.message


def test_missing_labels_are_counted_by_trait(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest()
    manifest.targets[[1, 2], 3] = np.nan
    manifest.targets[2, 4] = np.nan

    report = check_manifest(manifest, probe=False)

    (finding,) = report.findings
    assert (finding.level, finding.code, finding.count) == ("warning", "label-absent", 2)
    assert "agreeableness 2, emotional_stability 1" in finding.message
    assert finding.examples == ("video000001.000", "video000002.000")


def test_a_trait_without_labels_can_be_used_without(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest()
    manifest.targets[:, 1] = np.nan

    assert found(manifest) == {"trait-unlabelled": ("warning", len(manifest))}


def test_a_corpus_without_labels_cannot_be_used(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest()
    manifest.targets[:] = np.nan

    assert found(manifest) == {"label-absent": ("error", len(manifest))}


def test_the_direction_is_told_from_the_rows_with_all_labels(
    make_manifest: Callable[..., Manifest],
):
    manifest = make_manifest(120)
    manifest.targets[:, 4] = 1 - manifest.targets[:, 4]
    manifest.targets[:3, 0] = np.nan

    assert found(manifest)["trait-direction"] == ("warning", 117)


def test_unconverted_neuroticism_is_suspected(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest(120)
    manifest.targets[:, 4] = 1 - manifest.targets[:, 4]

    assert found(manifest) == {"trait-direction": ("warning", 120)}


def test_missing_and_unreadable_clips(
    make_manifest: Callable[..., Manifest], tmp_path: Path, shared_data: Path
):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    good = next((shared_data / "first_impressions_v2" / "clips").glob("*.mp4"))
    clips = (str(good), str(broken), str(tmp_path / "absent.mp4"), None, None, None)
    manifest = make_manifest(clip=clips)

    assert found(manifest) == {"clip-missing": ("error", 1)}
    report = check_manifest(manifest, probe=True)
    assert [(f.code, f.count) for f in report.errors] == [
        ("clip-missing", 1),
        ("clip-unreadable", 1),
    ]
    assert report.errors[1].examples == ("video000001.000 (UnreadableMedia)",)


def test_blank_and_duplicate_transcripts(make_manifest: Callable[..., Manifest]):
    texts = ("same words", "other", " same words ", "", " \n", "")

    assert found(make_manifest(transcript=texts)) == {
        "transcript-blank": ("warning", 3),
        "transcript-duplicate": ("warning", 2),
    }


def test_leakage_between_splits(make_manifest: Callable[..., Manifest]):
    # Rows 0 and 3 train, 1 and 4 validate, 2 and 5 test.
    sources = np.array(["x", "x", "y", "z", "w", "w"])
    report = check_manifest(make_manifest(source_id=sources, fold=np.zeros(6, int)), probe=False)

    (finding,) = report.findings
    assert (finding.code, finding.count) == ("leakage-validation", 1)
    assert "(50%)" in finding.message
    assert report.splits["validation"].unseen_source == 1
    assert report.splits["test"].unseen_source == 2


def test_folds_that_overlap_or_leave_rows_out(make_manifest: Callable[..., Manifest]):
    sources = np.array(["x", "y", "y", "x", "z", "w"])
    folds = np.array([0, 1, 2, 0, -1, 3])
    splits = np.array(["train"] * 6)

    assert found(make_manifest(source_id=sources, fold=folds, split=splits)) == {
        "fold-overlap": ("error", 1),
        "fold-coverage": ("warning", 1),
    }
    assert found(make_manifest(fold=np.full(6, -1))) == {}


def test_partial_descriptors(make_manifest: Callable[..., Manifest]):
    manifest = make_manifest()
    manifest.descriptors[0, :] = np.nan
    manifest.descriptors[1, 4] = np.nan

    assert found(manifest) == {"descriptors-partial": ("warning", 1)}
