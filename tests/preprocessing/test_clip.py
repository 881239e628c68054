import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmperson.errors import UsageError
from mmperson.media import AudioWindow, read_clip
from mmperson.preprocessing import (
    DescriptorSpec,
    FrameSpec,
    InputSpec,
    TextSpec,
    acoustic_descriptors,
    prepare_clip,
    to_analysis_rate,
)

AUDIO = InputSpec(audio=DescriptorSpec())
TEXT = InputSpec(text=TextSpec(tokenizer_sha256="0" * 64))
BOTH = InputSpec(audio=AUDIO.audio, text=TEXT.text)
SMALL = {"count": 2, "short_side": 32, "height": 32, "width": 32}
VIDEO = InputSpec(video=FrameSpec(**SMALL))
RATE_HZ = 44_100


def noise(seconds, scale=0.1):
    values = np.random.default_rng(0).normal(scale=scale, size=round(seconds * RATE_HZ))
    return values.astype(np.float32)


def test_reads_what_the_spec_reads(make_clip, tokenizer):
    frames = np.zeros((2, 40, 40, 3), dtype=np.uint8)
    clip = make_clip(noise(2.0), frames=frames)
    inputs = prepare_clip(clip, "Hello there.", BOTH, tokenizer)
    assert inputs.present.tolist() == [False, True, True]
    assert inputs.audio.shape == (26,)
    assert inputs.text.shape == (5,)
    assert inputs.warnings == ()
    assert inputs.absent == {}
    inputs = prepare_clip(clip, "Hello there.", VIDEO, None)
    assert inputs.present.tolist() == [True, False, False]
    assert inputs.video.shape == (2, 3, 32, 32)
    assert inputs.absent == {}


def test_a_frame_that_stands_in_for_others_is_prepared_once(make_clip):
    # Were the second frame looked at, it would be seen.
    frames = np.stack([np.full((40, 40, 3), grey, dtype=np.uint8) for grey in (50, 99, 200)])
    clip = replace(make_clip(frames=frames), frame_times_s=np.array([0.5, 0.5, 1.5]))
    spec = InputSpec(video=FrameSpec(views=("scene", "motion"), **{**SMALL, "count": 3}))
    inputs = prepare_clip(clip, None, spec, None)
    assert inputs.video[:, 0, 0, 0].tolist() == [50, 50, 200, 0, 150, 150]


def test_another_number_of_frames_is_refused(make_clip):
    clip = make_clip(frames=np.zeros((3, 40, 40, 3), dtype=np.uint8))
    with pytest.raises(UsageError, match="read with 3 frames, not with 2"):
        prepare_clip(clip, None, VIDEO, None)


def test_what_the_clip_lacks_is_absent(make_clip, tokenizer):
    spec = InputSpec(video=VIDEO.video, audio=AUDIO.audio, text=TEXT.text)
    for clip in (None, make_clip()):
        inputs = prepare_clip(clip, None, spec, tokenizer)
        assert not inputs.present.any()
        assert set(inputs.absent) == {"video", "audio", "text"}
        assert inputs.warnings == ()  # The clip carries its own.


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (np.zeros(RATE_HZ, dtype=np.float32), "silent in its first 1.0 s"),
        (np.full(RATE_HZ, 9e-5, dtype=np.float32), "silent"),
        (np.concatenate([np.zeros(7 * RATE_HZ, dtype=np.float32), noise(1.0)]), "first 7.0 s"),
        (noise(0.05), "only 0.050 s long"),
        (noise(0.0), "only 0.000 s long"),
    ],
)
def test_sound_that_says_nothing_is_absent(make_clip, waveform, reason):
    inputs = prepare_clip(make_clip(waveform), None, AUDIO, None)
    assert inputs.audio is None
    assert reason in inputs.absent["audio"]
    assert len(inputs.warnings) == 1
    assert reason in inputs.warnings[0]


def test_short_sound_is_used_with_a_warning(make_clip):
    inputs = prepare_clip(make_clip(noise(0.4)), None, AUDIO, None)
    assert inputs.audio is not None
    assert "0.4 s" in inputs.warnings[0]
    assert prepare_clip(make_clip(noise(3.0)), None, AUDIO, None).warnings == ()


def test_quiet_sound_is_used(make_clip):
    assert prepare_clip(make_clip(noise(1.0, scale=1e-4)), None, AUDIO, None).present[1]


@pytest.mark.parametrize("transcript", ["", " \n\t", "...", "\u200b"])
def test_text_without_words_is_absent(tokenizer, transcript):
    inputs = prepare_clip(None, transcript, TEXT, tokenizer)
    assert inputs.text is None
    (warning,) = inputs.warnings
    assert "no word" in warning


def test_one_channel_is_measured_3_db_lower(make_clip):
    waveform = noise(2.0)
    stereo = prepare_clip(make_clip(waveform), None, AUDIO, None).audio
    mono = prepare_clip(make_clip(waveform, channels=1), None, AUDIO, None).audio
    assert stereo[1] / mono[1] == pytest.approx(np.sqrt(2), rel=1e-3)  # RMS
    # The first coefficient is the mean of 128 mel bands in decibels, times the root of 128.
    assert stereo[6] - mono[6] == pytest.approx(10 * np.log10(2) * np.sqrt(128), rel=1e-2)


def test_only_the_window_is_measured(make_clip):
    long, short = make_clip(noise(9.0)), make_clip(noise(9.0)[: 7 * RATE_HZ])
    np.testing.assert_array_equal(
        prepare_clip(long, None, AUDIO, None).audio, prepare_clip(short, None, AUDIO, None).audio
    )


def test_steps_are_those_of_the_modules(make_clip):
    waveform = noise(2.0)
    prepared = prepare_clip(make_clip(waveform), None, AUDIO, None).audio  # First: it limits BLAS.
    expected = acoustic_descriptors(to_analysis_rate(waveform, AUDIO.audio), AUDIO.audio)
    np.testing.assert_array_equal(prepared, expected)


def test_another_sample_rate_is_refused(make_clip):
    with pytest.raises(UsageError, match=r"22050 Hz.*44100 Hz"):
        prepare_clip(make_clip(noise(1.0), rate_hz=22_050), None, AUDIO, None)


def test_text_needs_a_tokenizer():
    with pytest.raises(UsageError, match="tokenizer"):
        prepare_clip(None, "Hello", TEXT, None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_samples_off_the_scale_are_refused(make_clip, value):
    waveform = noise(1.0)
    waveform[100] = value
    with pytest.raises(UsageError, match="waveform"):
        prepare_clip(make_clip(waveform), None, AUDIO, None)


@settings(max_examples=60, deadline=None)
@given(
    waveform=hnp.arrays(
        np.float32,
        st.integers(0, 6000),
        elements=st.floats(-2, 2, width=32),
        fill=st.sampled_from([0.0, 1.0, -1.0, 5e-5]),
    )
)
def test_any_waveform_gives_finite_numbers_or_none(make_clip, waveform):
    inputs = prepare_clip(make_clip(waveform), None, AUDIO, None)
    if inputs.audio is None:
        assert "audio" in inputs.absent
    else:
        assert inputs.audio.shape == (26,)
        assert np.isfinite(inputs.audio).all()


def test_silent_file_is_absent(shared_data):
    window = AudioWindow(RATE_HZ, duration_s=7.0)
    clip = read_clip(shared_data / "clips/hard/silent_audio.mp4", audio=window)
    assert "silent" in prepare_clip(clip, None, AUDIO, None).absent["audio"]


@pytest.mark.parametrize(
    "name", ["talking/whisper_jfk.flac", "talking/grid_bbaf2n.mpg", "hard/h263_8k.3gp"]
)
def test_other_rates_and_formats_are_measured(shared_data, name):
    window = AudioWindow(RATE_HZ, duration_s=7.0)
    inputs = prepare_clip(read_clip(shared_data / "clips" / name, audio=window), None, AUDIO, None)
    assert np.isfinite(inputs.audio).all()


def test_neither_ffmpeg_nor_opencv_is_loaded_for_text_and_descriptors():
    script = (
        "import sys, numpy as np, mmperson.preprocessing as i\n"
        "i.acoustic_descriptors(np.ones(9000, np.float32), i.DescriptorSpec())\n"
        "print([m for m in ('av', 'cv2', 'scipy', 'librosa', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
