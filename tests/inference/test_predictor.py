import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from mmperson.errors import BundleCorrupt, MissingStream, UnknownComponent, UsageError
from mmperson.inference.bundle import Bundle, open_bundle
from mmperson.inference.fingerprint import fingerprint
from mmperson.inference.predictor import Predictor, load
from mmperson.media import read_clip
from mmperson.media.transcripts import resolve
from mmperson.preprocessing.clip import ClipInputs
from mmperson.preprocessing.spec import DialogueSpec
from mmperson.traits import TRAITS

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
    assert any("video" in warning for warning in record.warnings)
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


def test_a_transcript_beside_the_clip_that_cannot_be_read_is_no_transcript(predictor, clip):
    clip.with_suffix(".json").write_text('{"created": "by a sound editor"}', encoding="utf-8")
    record = predictor.predict(clip)
    assert record.scores == predictor.predict(clip, transcript="").scores
    assert record.modalities.text.use == "absent"
    assert "cannot be read" in record.modalities.text.why
    assert "'-clip é\\n.json'" in record.warnings[0]
    named = predictor.predict(clip, transcript=clip.with_suffix(".json"))
    assert named.error.type == "TranscriptError"


def test_words_that_name_a_file_are_warned_of(predictor, clip, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text(WORDS, encoding="utf-8")
    assert "pass a Path to read it" in predictor.predict(clip, transcript=str(path)).warnings[0]
    assert not any("Path" in told for told in predictor.predict(clip, transcript=WORDS).warnings)


@pytest.mark.parametrize("clip", [None, 3, b"clip.mp4", ["clip.mp4", None], [b"clip.mp4"]])
def test_what_is_no_path_is_refused(predictor, clip):
    with pytest.raises(UsageError, match=r"A clip is a path .* was given"):
        predictor.predict(clip)


@pytest.mark.parametrize("transcript", [3, b"words", ["some", "words"]])
def test_what_is_no_transcript_is_refused(predictor, demo, transcript):
    with pytest.raises(UsageError, match=r"\(str\).*\(Path\)"):
        predictor.predict(demo, transcript)


def test_a_misspelt_modality_is_named(predictor):
    with pytest.raises(UnknownComponent, match="Did you mean 'video'"):
        predictor.score(ClipInputs(text=np.array([101, 102])), ["vidoe"])
    with pytest.raises(UsageError, match="not 'audio'"):
        predictor.score(ClipInputs(), "audio")
    with pytest.raises(UsageError, match="prepare_clip; None"):
        predictor.score(None)


def test_what_the_bundle_does_not_read_is_not_used(predictor):
    frames = np.zeros((2, 3, 8, 8), dtype=np.uint8)
    words = np.array([101, 2023, 102])
    both = predictor.score(ClipInputs(video=frames, text=words))
    np.testing.assert_array_equal(both, predictor.score(ClipInputs(text=words)))
    with pytest.raises(MissingStream):
        predictor.score(ClipInputs(video=frames))


def changed(tiny_bundle, **files: bytes | None) -> Bundle:
    """Return the bundle with other files in memory; None takes one away."""
    bundle = open_bundle(tiny_bundle)
    named = {name.replace("__", "."): content for name, content in files.items()}
    kept = {name: content for name, content in (bundle.files | named).items() if content}
    return replace(bundle, files=kept)


def test_graphs_must_be_those_of_the_modalities(tiny_bundle):
    fusion = open_bundle(tiny_bundle).files["fusion.onnx"]
    for files in (
        {"encoder_text__onnx": None},
        {"fusion__onnx": None},
        {"encoder_video__onnx": fusion},
        {"encoder_audio__onnx": fusion},
    ):
        (name,) = files
        with pytest.raises(BundleCorrupt, match=name.removesuffix("__onnx")):
            Predictor(changed(tiny_bundle, **files))


def test_every_column_must_have_a_name(tiny_bundle):
    bundle = open_bundle(tiny_bundle)
    info = bundle.info.model_copy(update={"targets": (*TRAITS, "tension")})
    with pytest.raises(BundleCorrupt, match="returns 5 scores; 6 are declared"):
        Predictor(replace(bundle, info=info))


def test_a_graph_that_fails_is_a_corrupt_bundle(tiny_bundle, predictor):
    graph = onnx.load_from_string(open_bundle(tiny_bundle).files["fusion.onnx"])
    graph.graph.input[0].name = "moon"
    for node in graph.graph.node:
        node.input[:] = ["moon" if name == "present" else name for name in node.input]
    broken = Predictor(changed(tiny_bundle, fusion__onnx=graph.SerializeToString()))
    with pytest.raises(BundleCorrupt, match=r"fusion\.onnx has unknown inputs: moon"):
        broken.score(ClipInputs(text=np.array([101, 102])))
    with pytest.raises(BundleCorrupt, match=r"encoder_text\.onnx cannot be run"):
        predictor.score(ClipInputs(text=np.array([999_999_999])))


def test_words_that_the_tokenizer_cannot_read_are_an_error_of_the_bundle(tiny_bundle, clip):
    tokenizer = json.loads(open_bundle(tiny_bundle).files["tokenizer.json"])
    tokenizer["model"]["unk_token"] = "[NOPE]"
    broken = Predictor(changed(tiny_bundle, tokenizer__json=json.dumps(tokenizer).encode()))
    assert broken.predict(clip, transcript="Hello there.").error is None
    error = broken.predict(clip, transcript="Hello ☃.").error
    assert error.type == "BundleCorrupt"
    assert "cannot encode 'Hello ☃.'" in error.message


def test_the_tokenizer_is_that_of_the_checked_bytes(tiny_bundle, tmp_path, demo, predictor):
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    bundle = open_bundle(folder)
    (folder / "tokenizer.json").write_text("changed after the check")
    assert Predictor(bundle).predict(demo).scores == predictor.predict(demo).scores
    with pytest.raises(BundleCorrupt, match=r"has no tokenizer\.json"):
        Predictor(changed(tiny_bundle, tokenizer__json=None))


def test_targets_beyond_the_traits_are_other_scores(tiny_bundle, demo, predictor):
    bundle = open_bundle(tiny_bundle)
    graph = onnx.load_from_string(bundle.files["fusion.onnx"])
    (scores,) = graph.graph.output
    for node in graph.graph.node:
        node.output[:] = ["five" if name == "scores" else name for name in node.output]
    columns = onnx.numpy_helper.from_array(np.array([0, 1, 2, 3, 4, 1]), "columns")
    factor = np.array([1, 1, 1, 1, 1, 10], dtype=np.float32)
    graph.graph.initializer.extend([columns, onnx.numpy_helper.from_array(factor, "factor")])
    graph.graph.node.extend(
        [
            onnx.helper.make_node("Gather", ["five", "columns"], ["six"], axis=1),
            onnx.helper.make_node("Mul", ["six", "factor"], ["scores"]),
        ]
    )
    scores.type.tensor_type.shape.dim[1].dim_value = 6
    info = bundle.info.model_copy(update={"targets": (*TRAITS, "tension")})
    files = {**bundle.files, "fusion.onnx": graph.SerializeToString()}
    record = Predictor(replace(bundle, info=info, files=files)).predict(demo)
    assert record.scores == predictor.predict(demo).scores
    assert record.other_scores == {"tension": pytest.approx(10 * record.scores.conscientiousness)}
    assert predictor.predict(demo).other_scores == {}


@pytest.mark.parametrize(
    ("dialogue", "expected"), [(False, "Hello. Hi."), (True, "Ann: Hello.\nBob: Hi.")]
)
def test_who_speaks_is_told_to_networks_that_read_it(
    tiny_bundle, clip, tmp_path, monkeypatch, dialogue, expected
):
    path = tmp_path / "talk.vtt"
    path.write_text(
        "WEBVTT\n\n00:00.0 --> 00:01.0\n<v Ann>Hello.\n\n00:01.0 --> 00:02.0\n<v Bob>Hi.",
        encoding="utf-8",
    )
    predictor, heard = load(tiny_bundle), []
    if dialogue:
        text = DialogueSpec(tokenizer_sha256="", marker=40_000)
        predictor.spec = predictor.spec.model_copy(update={"text": text})

    def listen(clip, text, spec, tokenizer):
        heard.append(text)
        return ClipInputs()

    monkeypatch.setattr("mmperson.inference.predictor.prepare_clip", listen)
    predictor.predict(clip, transcript=path)
    assert heard == [expected]


def test_a_transcript_that_changes_while_it_is_read_is_not_named_wrongly(
    predictor, clip, monkeypatch
):
    """The record's fingerprint is that of the words that were scored."""
    sidecar = clip.with_suffix(".txt")
    sidecar.write_text(WORDS, encoding="utf-8")
    before = predictor.predict(clip)
    real = resolve.find_transcript

    def find_and_change(path):
        found = real(path)
        monkeypatch.undo()
        sidecar.write_text("Everything is dull and nobody likes me at all.", encoding="utf-8")
        return found

    monkeypatch.setattr(resolve, "find_transcript", find_and_change)
    changed = predictor.predict(clip)
    assert changed.scores != before.scores
    assert changed.fingerprint == fingerprint(predictor.bundle, str(clip))
    assert changed.fingerprint != before.fingerprint
    assert (changed.scores, changed.fingerprint) == (
        (again := predictor.predict(clip)).scores,
        again.fingerprint,
    )


def test_a_transcript_is_looked_up_and_opened_once(predictor, demo, monkeypatch):
    calls = []
    for name in ("find_transcript", "read_transcript_file"):
        real = getattr(resolve, name)
        monkeypatch.setattr(
            resolve, name, lambda path, name=name, real=real: calls.append(name) or real(path)
        )
    assert predictor.predict(demo).fingerprint is not None
    assert calls == ["find_transcript", "read_transcript_file"]


def test_frames_are_gone_before_the_graphs_run(tiny_bundle, demo, monkeypatch):
    predictor, read = load(tiny_bundle), []

    def read_frames(path, **options):
        clip = read_clip(path, **{**options, "frames": 3})
        read.append(weakref.ref(clip.frames))
        return clip

    monkeypatch.setattr("mmperson.inference.predictor.read_clip", read_frames)
    monkeypatch.setattr(predictor, "run", lambda builder: read.append(read[0]()))
    predictor.predict(demo)
    assert read[1] is None
