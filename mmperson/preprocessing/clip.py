"""A decoded clip and its transcript to the inputs of a network, modality by modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mmperson.errors import UsageError
from mmperson.preprocessing.audio.descriptors import acoustic_descriptors
from mmperson.preprocessing.audio.log_mel import log_mel
from mmperson.preprocessing.audio.prosody import prosody
from mmperson.preprocessing.audio.waveform import check_waveform, to_analysis_rate
from mmperson.preprocessing.blas import one_thread
from mmperson.preprocessing.spec import (
    ColumnSpec,
    DescriptorSpec,
    FrameSpec,
    InputSpec,
    SoundSpec,
    TextSpec,
)
from mmperson.preprocessing.text.encode import encode_text, has_words
from mmperson.preprocessing.video.frames import difference_frames, prepare_frames

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media import Clip

_ROUGH_BELOW_S: Final = 1.0


@dataclass(frozen=True, eq=False)
class ClipInputs:
    """What a network reads of one clip; None where a modality is unread or absent.

    Attributes:
        video: uint8 (frame, 3, height, width), or float32 (column,).
        audio: float32 (descriptor,), (time, mel), (sample,) or (column,): see ``AudioSpec``.
        text: int64 (token,), or with prompts (prompt, token); special tokens included.
        warnings: What the reader of the scores should know; one sentence each.
        absent: Why a modality that the spec reads is None, by its name.
    """

    video: npt.NDArray[np.uint8] | npt.NDArray[np.float32] | None = None
    audio: npt.NDArray[np.float32] | None = None
    text: npt.NDArray[np.int64] | None = None
    warnings: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Whether there is video, audio, text: bool (3,)."""
        return np.array([part is not None for part in (self.video, self.audio, self.text)])


def prepare_clip(
    clip: Clip | None, transcript: str | None, spec: InputSpec, tokenizer: Tokenizer | None
) -> ClipInputs:
    """Prepare the modalities that a spec reads; what it does not read is left alone.

    Silent or very short sound and a transcript without a word are absent, with a warning. The
    warnings of the clip itself are not repeated. Inputs are the same bits however many threads
    numpy was given.

    Args:
        clip: From ``read_clip``, with ``spec.video.count`` frames and the sound from the start at
            ``spec.audio.source_rate_hz``. None if there is only text.
        transcript: What is said, None if unknown.
        spec: The preprocessing.
        tokenizer: From ``load_tokenizer``; None where the spec reads no text.

    Returns:
        The inputs.

    Raises:
        UsageError: The clip was read with other settings than the spec's, or there is no tokenizer.
    """
    video = audio = text = None
    warnings: list[str] = []
    absent: dict[str, str] = {}
    for name, part in (("video", spec.video), ("audio", spec.audio)):
        if isinstance(part, ColumnSpec):
            absent[name] = "It is read from columns of a manifest, not from clips."
    if isinstance(spec.video, FrameSpec):
        if clip is not None and clip.frames is not None:
            video = _prepare_video(clip.frames, clip.frame_times_s, spec.video, warnings)
        else:
            absent["video"] = "The clip has no usable video."
    if spec.audio is not None and not isinstance(spec.audio, ColumnSpec):
        if clip is not None and clip.waveform is not None:
            audio = _prepare_audio(clip, clip.waveform, spec.audio, warnings, absent)
        else:
            absent["audio"] = "The clip has no usable audio."
    if spec.text is not None:
        text = _prepare_text(transcript, spec.text, tokenizer, warnings, absent)
    return ClipInputs(video, audio, text, tuple(warnings), absent)


def preload(spec: InputSpec) -> None:
    """Load what the first clip would load: a worker has less room once it is confined.

    Args:
        spec: The preprocessing.
    """
    if isinstance(spec.video, FrameSpec):
        import cv2  # noqa: F401

        if "face" in spec.video.views:
            from mmperson.preprocessing.video.faces import face_detector

            face_detector()
    if spec.audio is not None:
        with one_thread():
            pass


def _prepare_video(
    frames: npt.NDArray[np.uint8],
    times_s: npt.NDArray[np.float64] | None,
    spec: FrameSpec,
    warnings: list[str],
) -> npt.NDArray[np.uint8]:
    """Stack the frames of every view; a frame that stands in for several is prepared once."""
    if len(frames) != spec.count:
        raise UsageError(f"The clip was read with {len(frames)} frames, not with {spec.count}.")
    shown = np.arange(len(frames))
    if times_s is not None:
        _, first, shown = np.unique(times_s, return_index=True, return_inverse=True)
        frames = frames if len(first) == len(frames) else frames[first]
    views = []
    for view in spec.views:
        if view == "face":
            views.append(_faces(frames, spec, warnings)[shown])
        elif view == "motion":
            views.append(difference_frames(prepare_frames(frames, spec)[shown]))
        else:
            views.append(prepare_frames(frames, spec)[shown])
    return np.concatenate(views)


def _faces(
    frames: npt.NDArray[np.uint8], spec: FrameSpec, warnings: list[str]
) -> npt.NDArray[np.uint8]:
    """Cut the speaker's face out; where none is found, the middle of the frame stands in."""
    from mmperson.preprocessing.video.faces import face_detector
    from mmperson.preprocessing.video.tracking import crop_faces, track_speaker

    track = track_speaker(frames, face_detector())
    warnings += track.warnings
    if track.boxes is None:
        return prepare_frames(frames, spec)
    return prepare_frames(crop_faces(frames, track, spec.short_side), spec)


def _prepare_audio(
    clip: Clip,
    waveform: npt.NDArray[Any],
    spec: SoundSpec,
    warnings: list[str],
    absent: dict[str, str],
) -> npt.NDArray[np.float32] | None:
    """Measure the sound, unless there is too little of it."""
    if clip.sample_rate_hz != spec.source_rate_hz:
        raise UsageError(
            f"The clip was read at {clip.sample_rate_hz} Hz; the network's inputs are made from "
            f"{spec.source_rate_hz} Hz.",
            hint="Read it with AudioWindow(spec.source_rate_hz, duration_s=spec.window_s).",
        )
    waveform = waveform[: round(spec.window_s * spec.source_rate_hz)]
    duration_s = len(waveform) / spec.source_rate_hz
    reason = None
    if duration_s < spec.min_duration_s:
        reason = f"The audio is only {duration_s:.3f} s long."
    else:
        check_waveform(waveform)
        if np.abs(waveform).max() <= spec.silence_peak:
            reason = f"The audio is silent in its first {duration_s:.1f} s."
    if reason is not None:
        absent["audio"] = reason
        warnings.append(f"{reason[:-1]}: it is not used.")
        return None
    if duration_s < min(_ROUGH_BELOW_S, spec.window_s):
        warnings.append(f"The audio is only {duration_s:.1f} s long: what it says is rough.")
    with one_thread():
        if not isinstance(spec, DescriptorSpec):
            return _SOUND_READERS[spec.kind](waveform, spec)
        if clip.info.audio is not None and clip.info.audio.channels == 1:
            waveform = waveform * np.float32(spec.mono_gain)
        return acoustic_descriptors(to_analysis_rate(waveform, spec), spec)


_SOUND_READERS: Final[Mapping[str, Callable[..., npt.NDArray[np.float32]]]] = {
    "prosody": prosody,
    "log_mel": log_mel,
    "waveform": lambda waveform, spec: waveform.astype(np.float32),
}


def _prepare_text(
    transcript: str | None,
    spec: TextSpec,
    tokenizer: Tokenizer | None,
    warnings: list[str],
    absent: dict[str, str],
) -> npt.NDArray[np.int64] | None:
    """Encode the transcript, unless no word is in it."""
    if transcript is None:
        absent["text"] = "There is no transcript."
        return None
    if not has_words(transcript):
        absent["text"] = "The transcript has no word."
        warnings.append("The transcript has no word: it is not used.")
        return None
    if tokenizer is None:
        raise UsageError(
            "The spec reads text, and no tokenizer was given.",
            hint="Load one with load_tokenizer(path).",
        )
    return encode_text(transcript, tokenizer, spec)
