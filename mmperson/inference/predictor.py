"""Score clips with a bundle: resolve, read, prepare, run, record."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from mmperson.errors import BundleCorrupt, MissingStream, UnknownComponent, UsageError
from mmperson.inference.builder import PredictionBuilder
from mmperson.inference.bundle import DEFAULT_BUNDLE, TOKENIZER_FILE, Bundle, open_bundle
from mmperson.inference.fingerprint import hash_sources
from mmperson.inference.providers import Provider
from mmperson.inference.session import GraphValue, Session
from mmperson.inference.validation import validate_graphs, validate_scores
from mmperson.media import Clip, Decode, read_clip
from mmperson.media.decode import Threads, check_profile
from mmperson.media.transcripts.resolve import (
    ResolvedTranscript,
    TranscriptSource,
    resolve_transcript,
)
from mmperson.preprocessing.clip import ClipInputs, prepare_clip
from mmperson.preprocessing.collate import collate
from mmperson.preprocessing.text.encode import load_tokenizer
from mmperson.schema import MODALITIES, Engine, Prediction

ClipPath = str | os.PathLike[str]
_CLIP_RULE = "A clip is a path (str or Path)"
_TRANSCRIPT_RULE = "A transcript is text (str) or a file (Path)"


def load(
    name: str | Path = DEFAULT_BUNDLE,
    *,
    threads: int = 1,
    provider: Provider = "cpu",
    decode: Decode = "exact",
) -> Predictor:
    """Open a bundle for scoring.

    Args:
        name: Name of a shipped bundle, or a bundle folder.
        threads: CPU threads per graph. Several processes with one thread each score more clips
            than one process with several.
        provider: Where graphs run: ``cpu`` or ``cuda``, which needs ``onnxruntime-gpu`` instead of
            ``onnxruntime``.
        decode: Which frames of a video are decoded: ``exact`` the same frames as in training;
            ``fast`` the nearest reference frames; ``key`` the nearest keyframes.

    Raises:
        BundleError: There is no such bundle, or it cannot be used.
        UsageError: The provider is not available.
        UnknownComponent: There is no such profile or provider.
    """
    return Predictor(open_bundle(name), threads=threads, provider=provider, decode=decode)


class Predictor:
    """Scores clips with one bundle; graphs are loaded once.

    Args:
        bundle: An opened bundle.
        threads: CPU threads per graph.
        provider: Where graphs run.
        decode: Which frames of a video are decoded.
        decode_threads: FFmpeg's threading of video; ``"none"`` suits one of several processes.

    Raises:
        BundleCorrupt: Its graphs have other inputs or outputs than it declares.
        UsageError: The provider is not available.
        UnknownComponent: There is no such profile or provider.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int = 1,
        provider: Provider = "cpu",
        decode: Decode = "exact",
        decode_threads: Threads = "auto",
    ) -> None:
        check_profile(decode)
        self.bundle = replace(bundle, files={})  # the sessions have what they need
        self.decode: Decode = decode
        self.engine = Engine(provider=provider, precision=bundle.info.precision)
        self._decode_threads: Threads = decode_threads
        self.spec = bundle.info.spec
        self._sessions = {
            name.removesuffix(".onnx"): Session(
                data, name, bundle.info.spec_hash, threads, provider
            )
            for name, data in bundle.files.items()
            if name.endswith(".onnx")
        }
        validate_graphs(bundle.info, self._sessions)
        self.tokenizer = None
        if self.spec.text is not None:
            if TOKENIZER_FILE not in bundle.files:
                raise BundleCorrupt(
                    f"The bundle {bundle.info.name!r} reads text and has no {TOKENIZER_FILE}."
                )
            self.tokenizer = load_tokenizer(bundle.files[TOKENIZER_FILE])
        self._absent_tokens = self._make_absent_tokens()

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
            transcript: The text as str, a file as Path, or None for a sidecar file (same name with
                .txt, .srt, .vtt or .json). For one clip only.

        Returns:
            A record, or a list of records in the order of the clips.

        Raises:
            UsageError: A transcript for several clips, or a value that is not a path or text.
        """
        _check_transcript(transcript)
        if isinstance(clip, str | bytes | os.PathLike) or not isinstance(clip, Iterable):
            return self._predict_one(_check_path(clip, _CLIP_RULE), transcript)
        if transcript is not None:
            raise UsageError("A transcript belongs to one clip, but several clips were given.")
        paths = [_check_path(path, _CLIP_RULE) for path in clip]
        return [self._predict_one(path, None) for path in paths]

    def score(
        self, inputs: ClipInputs, modalities: Sequence[str] = MODALITIES
    ) -> npt.NDArray[np.float64]:
        """Score prepared inputs.

        Args:
            inputs: Made by ``prepare_clip`` with this predictor's ``spec`` and ``tokenizer``.
            modalities: Modalities to use; the others count as absent.

        Returns:
            float64 (target,): the five traits, about [0, 1], then the bundle's other targets.

        Raises:
            UsageError: The inputs are not ``ClipInputs``, or the modalities not a sequence.
            UnknownComponent: There is no such modality.
            MissingStream: Every modality that the bundle reads is absent.
            BundleCorrupt: A graph fails, or its scores are malformed.
        """
        if not isinstance(inputs, ClipInputs):
            raise UsageError(f"Inputs are made by prepare_clip; {inputs!r} was given.")
        if isinstance(modalities, str) or not isinstance(modalities, Iterable):
            raise UsageError(f"Modalities are a sequence of names, not {modalities!r}.")
        for name in modalities:
            if name not in MODALITIES:
                raise UnknownComponent("modality", str(name), MODALITIES)
        return self._fuse(self._encode(inputs, modalities))

    def predict_windows(
        self,
        clip: ClipPath,
        transcript: TranscriptSource = None,
        *,
        window_s: float,
        step_s: float | None = None,
    ) -> Iterator[Prediction]:
        """Score a recording window by window, in one pass and constant memory.

        Each window is scored like a clip of its own: with frames spread over it, the audio from its
        start, and the words spoken in it. Words are timed by the segments of the transcript, evenly
        spaced within each; a transcript without times is not used.

        Args:
            clip: Path of a recording of at most six hours.
            transcript: As for ``predict``.
            window_s: Length of a window in seconds: 1 or more; best what the bundle was trained on.
            step_s: From the start of one window to that of the next, in seconds: at least 1, and at
                least a sixteenth of a window. None for ``window_s``.

        Returns:
            A record per window, computed lazily, with ``start_s`` and ``end_s``. If the file cannot
            be read any further, the last record has an error and no times.

        Raises:
            UsageError: The window is too short, the step too small, or the clip not a path.
        """
        from mmperson.inference.windows import predict_windows  # not needed for one clip
        from mmperson.media.windows import read_windows

        name = os.fspath(_check_path(clip, _CLIP_RULE))
        _check_transcript(transcript)
        windows = read_windows(name, window_s, step_s, **self.read_options())
        return predict_windows(self, name, windows, transcript, (window_s, step_s))

    def _predict_one(self, path: ClipPath, transcript: TranscriptSource) -> Prediction:
        builder = PredictionBuilder(os.fspath(path))
        with builder.attempt():
            with builder.stage("decode"):
                resolved = self.resolve(builder, transcript)
                clip = read_clip(builder.name, **self.read_options())
            self.prepare(builder, clip, resolved)
            del clip  # its frames take more memory than the prepared inputs
            self.run(builder)
        return builder.record(self.bundle, self.engine)

    def resolve(
        self,
        builder: PredictionBuilder,
        transcript: TranscriptSource,
        settings: Sequence[str | float | None] = (),
    ) -> ResolvedTranscript:
        """Find the transcript and compute the fingerprint, before the clip is read.

        Args:
            builder: Receives the fingerprint and the warnings.
            transcript: The caller's transcript.
            settings: Settings that affect the scores besides the decode profile and the provider.

        Raises:
            TranscriptError: The caller's file cannot be read.
        """
        reads_text = self.spec.text is not None
        resolved = resolve_transcript(builder.name, transcript, reads_text=reads_text)
        settings = (self.decode, self.engine.provider, *settings)
        builder.fingerprint = hash_sources(self.bundle, builder.name, resolved.identity, settings)
        builder.warnings += resolved.warnings
        if resolved.error is not None:
            raise resolved.error
        return resolved

    def read_options(self) -> dict[str, Any]:
        """Return the arguments of ``read_clip`` that decode exactly what the bundle reads."""
        return {
            "decode": self.decode,
            "threads": self._decode_threads,
            **self.spec.read_options(),
        }

    def prepare(self, builder: PredictionBuilder, clip: Clip, resolved: ResolvedTranscript) -> None:
        """Prepare the network's inputs from a decoded clip."""
        builder.duration_s, builder.span = clip.info.duration_s, clip.span
        builder.warnings += clip.warnings
        with builder.stage("inputs"):
            text = resolved.turns if self.spec.reads_turns else resolved.text
            builder.inputs = prepare_clip(clip, text, self.spec, self.tokenizer)
            builder.warnings += builder.inputs.warnings
            if resolved.unusable is not None:
                absent = {**builder.inputs.absent, "text": resolved.unusable}
                builder.inputs = replace(builder.inputs, absent=absent)

    def run(self, builder: PredictionBuilder) -> None:
        """Run the graphs on the prepared inputs."""
        with builder.stage("encode"):
            tokens = self._encode(builder.inputs, MODALITIES)
        with builder.stage("fuse"):
            builder.scores = self._fuse(tokens)

    def _encode(self, inputs: ClipInputs, modalities: Sequence[str]) -> dict[str, GraphValue]:
        """Run the encoder of every present modality; tokens of the others are zeros."""
        read = [name in modalities and name in self.spec.modalities for name in MODALITIES]
        active = inputs.present & np.array(read)
        if not active.any():
            names = " or ".join(self.spec.modalities)
            why = " ".join(inputs.absent.values())
            raise MissingStream(f"There is no usable {names}. {why}".strip())
        values: dict[str, GraphValue] = {
            **self._absent_tokens,
            "present": active[np.newaxis].astype(np.float32),
        }
        batch = collate([inputs], self.spec)
        for name, is_active in zip(MODALITIES, active, strict=True):
            if is_active:
                values |= self._sessions[f"encoder_{name}"].run(batch)
        return values

    def _fuse(self, tokens: dict[str, GraphValue]) -> npt.NDArray[np.float64]:
        scores = self._sessions["fusion"].run(tokens)["scores"].numpy()
        validate_scores(scores, tokens, self._sessions)
        row: npt.NDArray[np.float64] = scores[0].astype(np.float64)
        return row

    def _make_absent_tokens(self) -> dict[str, npt.NDArray[np.float32]]:
        """Return a zero token per modality, which the fusion masks by ``present``."""
        absent: dict[str, npt.NDArray[np.float32]] = {}
        for name in self.spec.modalities:
            outputs = self._sessions[f"encoder_{name}"].outputs
            for output, shape in outputs.items():
                size = [axis if isinstance(axis, int) else 1 for axis in shape]
                fill = np.ones if output.endswith("_mask") else np.zeros
                absent[output] = fill(size, dtype=np.float32)
        return absent


def _check_path(path: object, rule: str) -> ClipPath:
    """Return a path; bytes are refused, because a record cannot hold them."""
    if isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str):
        return path
    raise UsageError(f"{rule}; {path!r} ({type(path).__name__}) was given.")


def _check_transcript(transcript: TranscriptSource) -> None:
    if transcript is not None and not isinstance(transcript, str):
        _check_path(transcript, _TRANSCRIPT_RULE)
