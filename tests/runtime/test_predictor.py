from pathlib import Path

import numpy as np
import pytest

from mmperson.errors import MissingStream, UsageError
from mmperson.inputs.clip import ClipInputs
from mmperson.runtime.predictor import load

WORDS = "I plan my day and I laugh a lot."


@pytest.fixture(scope="module")
def predictor(tiny_bundle):
    return load(tiny_bundle)


@pytest.fixture
def clip(demo, tmp_path) -> Path:
    """The demo clip without its transcript."""
    path = tmp_path / "-clip é\n.mp4"
    path.write_bytes(demo.read_bytes())
    return path


def test_a_clip_with_a_transcript_beside_it_uses_both(predictor, demo):
    record = predictor.predict(demo)
    assert record.error is None
    assert record.modalities.audio.use == record.modalities.text.use == "used"
    assert record.modalities.video.use == "unread"
    assert "This bundle does not read video." in record.warnings
    assert record.duration_s == pytest.approx(8.24, abs=0.1)
    assert record.neuroticism == 1 - record.scores.emotional_stability
    assert set(record.timing_ms) == {"decode", "inputs", "encode", "fuse", "total"}


def test_a_clip_without_words_uses_its_sound(predictor, clip):
    record = predictor.predict(clip)
    assert record.scores is not None
    assert record.modalities.text.use == "absent"
    assert record.modalities.text.why == "There is no transcript."


def test_text_may_be_given_as_words_or_as_a_file(predictor, clip, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(WORDS, encoding="utf-8")
    spoken = predictor.predict(clip, transcript=WORDS)
    assert spoken.scores == predictor.predict(clip, transcript=path).scores
    assert spoken.scores != predictor.predict(clip).scores


def test_alone_in_a_list_and_twice_give_the_same_bits(predictor, demo, clip):
    alone = [predictor.predict(path).scores for path in (demo, clip)]
    together = [record.scores for record in predictor.predict([clip, demo, clip])]
    assert together == [alone[1], alone[0], alone[1]]


def test_a_bad_clip_costs_only_itself(predictor, demo, tmp_path):
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    records = predictor.predict([noise, tmp_path / "missing.mp4", demo])
    assert [record.error and record.error.type for record in records] == [
        "UnreadableMedia",
        "UnreadableMedia",
        None,
    ]
    assert records[0].scores is None
    assert records[0].neuroticism is None


def test_a_bad_transcript_is_an_error_of_its_clip(predictor, clip, tmp_path):
    path = tmp_path / "words.json"
    path.write_text("{", encoding="utf-8")
    record = predictor.predict(clip, transcript=path)
    assert record.error is not None
    assert record.error.type == "TranscriptError"


def test_one_transcript_for_several_clips_is_refused(predictor, demo):
    with pytest.raises(UsageError, match="several clips"):
        predictor.predict([demo, demo], transcript=WORDS)


def test_nothing_to_read_is_a_missing_stream(predictor):
    with pytest.raises(MissingStream, match="no usable audio or text"):
        predictor.score(ClipInputs())


@pytest.mark.parametrize("kept", ["audio", "text"])
def test_hiding_a_modality_equals_not_having_it(predictor, kept):
    both = ClipInputs(audio=np.ones(26, dtype=np.float32), text=np.array([101, 2023, 102]))
    single = ClipInputs(**{kept: getattr(both, kept)})
    np.testing.assert_array_equal(predictor.score(both, (kept,)), predictor.score(single))
