import pytest
from pydantic import ValidationError

from mmperson.preprocessing import (
    ColumnSpec,
    DescriptorSpec,
    DialogueSpec,
    FrameSpec,
    InputSpec,
    LibrosaSpec,
    LogMelSpec,
    ProsodySpec,
    TextSpec,
    WaveformSpec,
)


def test_hash_depends_on_every_number():
    hashes = {
        InputSpec(audio=DescriptorSpec()).hash,
        InputSpec(audio=DescriptorSpec(window_s=8.0)).hash,
        InputSpec(audio=DescriptorSpec(padding="constant")).hash,
        InputSpec(video=FrameSpec()).hash,
        InputSpec().hash,
    }
    assert len(hashes) == 5
    assert InputSpec(audio=DescriptorSpec()).hash == InputSpec(audio=DescriptorSpec()).hash


def test_hash_survives_json():
    spec = InputSpec(audio=DescriptorSpec(), video=FrameSpec())
    assert InputSpec.model_validate_json(spec.model_dump_json()).hash == spec.hash


def test_modalities_are_ordered():
    assert InputSpec(audio=DescriptorSpec(), video=FrameSpec()).modalities == ("video", "audio")


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        (DescriptorSpec, {"source_rate_hz": 48_000}),
        (DescriptorSpec, {"n_mfcc": 40, "n_mels": 32}),
        (FrameSpec, {"short_side": 128, "width": 224}),
        (FrameSpec, {"std": (0.2, 0.2, 0.0)}),
        (FrameSpec, {"colour": "rgb"}),
    ],
)
def test_numbers_that_do_not_fit_are_refused(spec, values):
    with pytest.raises(ValidationError):
        spec(**values)


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        (InputSpec(audio=DescriptorSpec()), "3caa386033cd2686"),
        (InputSpec(audio=ProsodySpec()), "6262a5551c9cea05"),
        (InputSpec(audio=LogMelSpec(window_s=2.0, n_mels=40)), "0885a743a017b84f"),
        (InputSpec(audio=WaveformSpec()), "eb8d10ed85992ddb"),
        (
            InputSpec(video=ColumnSpec(columns=("c",)), audio=ColumnSpec(columns=("a", "b"))),
            "f410d6bfc83cd761",
        ),
        (InputSpec(video=FrameSpec(views=("scene", "face"))), "951405317e9d3f29"),
        (InputSpec(text=TextSpec(tokenizer_sha256="0" * 64, prompts=("p",))), "61eaa3de7a4569c8"),
        (
            InputSpec(text=DialogueSpec(tokenizer_sha256="0" * 64, marker=30522)),
            "66b5521f21b713d0",
        ),
    ],
)
def test_a_hash_that_bundles_and_caches_carry_never_changes(spec, start):
    assert spec.hash.startswith(start)


@pytest.mark.parametrize(
    ("part", "options"),
    [
        (FrameSpec(count=3), {"frames": 3, "audio": None}),
        (ColumnSpec(columns=("a",)), {"frames": 0, "audio": None}),
    ],
)
def test_what_is_not_read_is_not_decoded(part, options):
    assert InputSpec(video=part).read_options() == options


def test_sound_is_read_at_its_rate_as_far_as_its_window():
    window = InputSpec(audio=LibrosaSpec(features=("rms",), window_s=3.0)).read_options()["audio"]
    assert (window.sample_rate_hz, window.duration_s) == (22_050, 3.0)


def test_only_a_dialogue_must_say_who_speaks():
    assert not InputSpec().reads_turns
    assert not InputSpec(text=TextSpec(tokenizer_sha256="")).reads_turns
    assert InputSpec(text=DialogueSpec(tokenizer_sha256="", marker=5)).reads_turns
