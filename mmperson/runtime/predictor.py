"""From clips to records: the bundle's graphs behind one method."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from mmperson.errors import MissingStream, MMPersonError, UsageError
from mmperson.inputs.clip import ClipInputs, prepare_clip
from mmperson.inputs.text import load_tokenizer
from mmperson.media import AudioWindow, Clip, find_transcript, read_clip, read_transcript
from mmperson.runtime.bundle import DEFAULT_BUNDLE, TOKENIZER_FILE, Bundle, open_bundle
from mmperson.runtime.session import Session
from mmperson.schema import MODALITIES, Modalities, ModalityUse, Prediction, Scores, error_info
from mmperson.traits import by_trait, neuroticism

ClipPath = str | os.PathLike[str]
TranscriptSource = str | Path | None
"""The text itself as str, a file as Path, or None for the file beside the clip."""


def load(name: str | Path = DEFAULT_BUNDLE, *, threads: int = 1) -> Predictor:
    """Open a bundle for scoring.

    Args:
        name: Name of a shipped bundle, or a bundle folder.
        threads: CPU threads per graph. Several processes with one thread each score more clips
            than one process with several.

    Raises:
        BundleError: There is no such bundle, or it cannot be used.
    """
    return Predictor(open_bundle(name), threads=threads)


class Predictor:
    """Scores clips with one bundle; graphs are loaded once.

    Args:
        bundle: An opened bundle.
        threads: CPU threads per graph.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.bundle = bundle
        self.spec = bundle.info.spec
        self._sessions = {
            name.removesuffix(".onnx"): Session(data, name, bundle.info.spec_hash, threads)
            for name, data in bundle.files.items()
            if name.endswith(".onnx")
        }
        self.tokenizer = (
            None if self.spec.text is None else load_tokenizer(bundle.folder / TOKENIZER_FILE)
        )
        self._silence = self._encode_absent()

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is a path, never a sequence of paths
        self, clip: ClipPath, transcript: TranscriptSource = None
    ) -> Prediction: ...

    @overload
    def predict(self, clip: Sequence[ClipPath], transcript: None = None) -> list[Prediction]: ...

    def predict(
        self, clip: ClipPath | Sequence[ClipPath], transcript: TranscriptSource = None
    ) -> Prediction | list[Prediction]:
        """Score one clip or several; a clip that cannot be scored gives a record with an error.

        Args:
            clip: Path of a clip, or several paths.
            transcript: What is said: the text as str, a file as Path, or None to look for a file
                beside the clip (same name with .txt, .srt, .vtt or .json). For one clip only.

        Returns:
            A record, or a list of records in the order of the clips.

        Raises:
            UsageError: A transcript is given for several clips.
        """
        if isinstance(clip, str | os.PathLike):
            return self._predict_one(clip, transcript)
        if transcript is not None:
            raise UsageError("A transcript belongs to one clip; several clips were given.")
        return [self._predict_one(path, None) for path in clip]

    def score(
        self, inputs: ClipInputs, modalities: Sequence[str] = MODALITIES
    ) -> npt.NDArray[np.float64]:
        """Score prepared inputs.

        Args:
            inputs: Made by ``prepare_clip`` with this predictor's ``spec`` and ``tokenizer``.
            modalities: Modalities to use; the others count as absent.

        Returns:
            float64 (trait,), about [0, 1].

        Raises:
            MissingStream: Nothing that the bundle reads is there.
        """
        return self._fuse(self._encode(inputs, modalities))

    def _predict_one(self, path: ClipPath, transcript: TranscriptSource) -> Prediction:
        name = os.fspath(path)
        timing: dict[str, float] = {}
        clip: Clip | None = None
        warnings: list[str] = []
        inputs = ClipInputs()
        scores = error = None
        with _timed(timing, "total"):
            try:
                with _timed(timing, "decode"):
                    text = _find_text(name, transcript)
                    clip = self._read(name)
                    warnings += clip.warnings
                with _timed(timing, "inputs"):
                    inputs = prepare_clip(clip, text, self.spec, self.tokenizer)
                    warnings += inputs.warnings
                with _timed(timing, "encode"):
                    tokens = self._encode(inputs, MODALITIES)
                with _timed(timing, "fuse"):
                    scores = self._fuse(tokens)
            except UnicodeEncodeError:
                error = error_info(UsageError(f"The name {name!r} is no valid path."))
            except MMPersonError as problem:
                error = error_info(problem)
        unread = [m for m in MODALITIES if m not in self.spec.modalities]
        if scores is not None and unread:
            warnings.append(f"This bundle does not read {' or '.join(unread)}.")
        named = None if scores is None else by_trait(scores.clip(0.0, 1.0))
        return Prediction(
            clip=name,
            scores=None if named is None else Scores(**named),
            neuroticism=None if named is None else neuroticism(named["emotional_stability"]),
            modalities=self._uses(inputs, failed=scores is None),
            duration_s=None if clip is None else clip.info.duration_s,
            model=self.bundle.model,
            timing_ms={stage: round(value, 2) for stage, value in timing.items()},
            warnings=tuple(dict.fromkeys(warnings)),
            error=error,
        )

    def _read(self, path: str) -> Clip:
        """Decode what the bundle reads, and nothing else."""
        audio, video = self.spec.audio, self.spec.video
        window = None
        if audio is not None:
            window = AudioWindow(audio.source_rate_hz, duration_s=audio.window_s)
        return read_clip(path, frames=video.count if video else 0, audio=window)

    def _encode(
        self, inputs: ClipInputs, modalities: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run the encoder of every modality that is there; the others say nothing."""
        shown = inputs.present & np.array([name in modalities for name in MODALITIES])
        if not shown.any():
            read = " or ".join(self.spec.modalities)
            why = " ".join(inputs.absent.values())
            raise MissingStream(f"There is no usable {read}. {why}".strip())
        fed = dict(self._silence) | {"present": shown[np.newaxis].astype(np.float32)}
        if inputs.audio is not None and shown[MODALITIES.index("audio")]:
            audio = {"descriptors": inputs.audio[np.newaxis]}
            fed["audio_tokens"] = self._sessions["encoder_audio"].run(audio)
        if inputs.text is not None and shown[MODALITIES.index("text")]:
            ids = inputs.text[np.newaxis]
            text = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            fed["text_tokens"] = self._sessions["encoder_text"].run(text)
            fed["text_mask"] = np.ones(ids.shape, dtype=np.float32)
        return fed

    def _fuse(self, tokens: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
        scores: npt.NDArray[np.float64] = self._sessions["fusion"].run(tokens)[0].astype(float)
        return scores

    def _encode_absent(self) -> dict[str, npt.NDArray[np.float32]]:
        """Tokens of absent modalities: zeros, which the presence mask takes out of the sum."""
        silence = {}
        if self.spec.audio is not None:
            nothing = {"descriptors": np.zeros((1, self.spec.audio.size), dtype=np.float32)}
            tokens = self._sessions["encoder_audio"].run(nothing)
            silence["audio_tokens"] = np.zeros_like(tokens)
        if self.spec.text is not None:
            width = self._sessions["encoder_text"].output_width
            silence["text_tokens"] = np.zeros((1, 1, width), dtype=np.float32)
            silence["text_mask"] = np.ones((1, 1), dtype=np.float32)
        return silence

    def _uses(self, inputs: ClipInputs, *, failed: bool) -> Modalities:
        return Modalities(**{name: self._use(name, inputs, failed=failed) for name in MODALITIES})

    def _use(self, name: str, inputs: ClipInputs, *, failed: bool) -> ModalityUse:
        if name not in self.spec.modalities:
            return ModalityUse(use="unread", why=f"The bundle does not read {name}.")
        if failed:
            why = inputs.absent.get(name, "The clip could not be scored.")
            return ModalityUse(use="absent", why=why)
        if getattr(inputs, name) is None:
            return ModalityUse(use="absent", why=inputs.absent.get(name))
        return ModalityUse(use="used")


def _find_text(clip: str, transcript: TranscriptSource) -> str | None:
    if isinstance(transcript, str):
        return transcript
    path = transcript if transcript is not None else find_transcript(clip)
    return None if path is None else read_transcript(path).text


@contextmanager
def _timed(timing: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timing[stage] = 1e3 * (time.perf_counter() - start)
