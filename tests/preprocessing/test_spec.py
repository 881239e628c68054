import pytest
from pydantic import ValidationError

from mmperson.preprocessing import DescriptorSpec, FrameSpec, InputSpec


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
