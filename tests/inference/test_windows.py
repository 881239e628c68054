import json

import numpy as np
import pytest

from mmperson.errors import UnknownComponent, UsageError
from mmperson.inference.predictor import load
from mmperson.media import Span, read_clip, read_transcript
from mmperson.media import read as read_module
from mmperson.media.transcripts.transcript import Segment, Transcript
from mmperson.preprocessing.clip import prepare_clip


@pytest.fixture(scope="module")
def predictor(tiny_bundle):
    return load(tiny_bundle)


@pytest.fixture
def talk(demo, tmp_path):
    """The demo clip of 8.2 s with timed words."""
    path = tmp_path / "talk.mp4"
    path.write_bytes(demo.read_bytes())
    segments = [
        {"start": 0.0, "end": 4.0, "text": "one two three four"},
        {"start": 5.0, "end": 6.0, "text": "calm garden"},
    ]
    path.with_suffix(".json").write_text(json.dumps(segments), encoding="utf-8")
    return path


def test_a_window_scores_as_its_seconds_do(talk):
    predictor = load()
    records = list(predictor.predict_windows(talk, window_s=3.0, step_s=2.5))
    spans = [(record.start_s, record.end_s) for record in records]
    np.testing.assert_allclose(spans[:3], [(0.0, 3.0), (2.5, 5.5), (5.0, 8.0)])
    assert all(record.duration_s == pytest.approx(8.24, abs=0.1) for record in records)
    words = read_transcript(talk.with_suffix(".json"))
    clips = predictor.spec.read_options()
    for record, said in zip(
        records, ["one two three", "three four calm", "calm garden"], strict=False
    ):
        assert record.modalities.text.use == record.modalities.audio.use == "used"
        assert words.within(record.start_s, record.end_s).text == said
        # What the command line would score, had the window been cut out.
        clip = read_clip(talk, span=Span(record.start_s, record.end_s), **clips)
        alone = predictor.score(prepare_clip(clip, said, predictor.spec, predictor.tokenizer))
        scores = list(record.scores.model_dump().values())
        np.testing.assert_allclose(scores, alone, atol=3e-3)  # AAC decoders draw their noise
    assert len({record.scores.openness for record in records}) == len(records)


def test_a_silent_stretch_has_no_words(predictor, talk):
    *_, last = predictor.predict_windows(talk, window_s=2.0)
    assert last.modalities.text.use == "absent"
    assert last.modalities.audio.use == "used"


@pytest.mark.parametrize("transcript", ["I plan my day and I laugh a lot.", None])
def test_words_without_times_belong_to_no_window(predictor, demo, transcript):
    for record in predictor.predict_windows(demo, transcript, window_s=4.0):
        assert record.scores is not None
        assert record.modalities.text.use == "absent"
        assert record.modalities.text.why.startswith("The transcript has no times")
        assert any("has no times" in warning for warning in record.warnings)


def test_a_whole_clip_has_no_start_and_end(predictor, demo):
    record = predictor.predict(demo)
    assert (record.start_s, record.end_s) == (None, None)


def test_a_file_that_cannot_be_read_is_one_record(predictor, tmp_path):
    (record,) = predictor.predict_windows(tmp_path / "missing.mp4", window_s=4.0)
    assert record.error.type == "UnreadableMedia"
    assert record.start_s is None


def test_bad_windows_are_refused_at_once(predictor, demo):
    with pytest.raises(UsageError, match="1 s or more"):
        predictor.predict_windows(demo, window_s=0.0)
    with pytest.raises(UsageError, match="A clip is a path"):
        predictor.predict_windows(None, window_s=5.0)


def test_an_audio_and_text_bundle_decodes_no_video_whatever_the_profile(
    tiny_bundle, demo, monkeypatch
):
    kinds = set()
    real = read_module.decode

    def spy(container, decoders, *rest, **named):
        kinds.update(decoder.kind for decoder in decoders)
        return real(container, decoders, *rest, **named)

    monkeypatch.setattr(read_module, "decode", spy)
    scores = set()
    for profile in ("exact", "fast", "key"):
        predictor = load(tiny_bundle, decode=profile)
        record = predictor.predict(demo)
        list(predictor.predict_windows(demo, window_s=4.0))
        scores.add(record.scores)
        assert not any("profile" in warning for warning in record.warnings)
    assert kinds == {"audio"}
    assert len(scores) == 1


def test_an_unknown_profile_gives_no_record(tiny_bundle, demo):
    with pytest.raises(UnknownComponent, match="exact, fast, key"):
        load(tiny_bundle, decode="fsat")


def test_words_are_spread_evenly_over_their_segment():
    said = Transcript("", (Segment(0.0, 4.0, "one two three four"), Segment(6.0, 6.0, "five")))
    assert said.within(0.0, 2.0).text == "one two"
    assert said.within(2.0, 6.0).text == "three four"
    assert said.within(6.0, 9.0).text == "five"
    assert said.within(2.0, 6.0).segments == (Segment(2.0, 4.0, "three four"),)
    assert said.within(4.0, 6.0).text == ""
