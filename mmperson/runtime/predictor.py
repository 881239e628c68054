"""From clips to records: the bundle's graphs behind one method."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from mmperson.errors import (
    BundleCorrupt,
    MissingStream,
    MMPersonError,
    TranscriptError,
    UnknownComponent,
    UsageError,
)
from mmperson.inputs.batch import collate
from mmperson.inputs.clip import ClipInputs, prepare_clip
from mmperson.inputs.spec import DialogueSpec
from mmperson.inputs.text import load_tokenizer
from mmperson.media import Clip, Transcript, find_transcript, read_clip, read_transcript
from mmperson.runtime.bundle import DEFAULT_BUNDLE, TOKENIZER_FILE, Bundle, open_bundle
from mmperson.runtime.fingerprint import fingerprint
from mmperson.runtime.session import Session
from mmperson.schema import MODALITIES, Modalities, ModalityUse, Prediction, Scores, error_info
from mmperson.traits import TRAITS, by_trait, neuroticism

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from mmperson.media.decode import Threads

ClipPath = str | os.PathLike[str]
TranscriptSource = str | os.PathLike[str] | None
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
        decoding: FFmpeg's threading of video; ``"none"`` suits one of several processes.

    Raises:
        BundleCorrupt: Its graphs are not those of what it reads and gives.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1, decoding: Threads = "auto") -> None:
        self.bundle = bundle
        self._decoding = decoding
        self.spec = bundle.info.spec
        self._sessions = {
            name.removesuffix(".onnx"): Session(data, name, bundle.info.spec_hash, threads)
            for name, data in bundle.files.items()
            if name.endswith(".onnx")
        }
        self._check_graphs()
        self.tokenizer = None if self.spec.text is None else self._read_tokenizer()
        self._silence = self._tokens_of_absent()

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
            UsageError: A transcript is given for several clips, or something is no path or text.
        """
        if transcript is not None and not isinstance(transcript, str):
            _check_path(transcript, "A transcript is words (str) or a file (Path)")
        rule = "A clip is a path (str or Path)"
        if isinstance(clip, str | bytes | os.PathLike) or not isinstance(clip, Iterable):
            return self._predict_one(_check_path(clip, rule), transcript)
        if transcript is not None:
            raise UsageError("A transcript belongs to one clip; several clips were given.")
        return [self._predict_one(path, None) for path in [_check_path(c, rule) for c in clip]]

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
            UsageError: There is no such modality, or the inputs are no ``ClipInputs``.
            MissingStream: Nothing that the bundle reads is there.
        """
        if not isinstance(inputs, ClipInputs):
            raise UsageError(f"Inputs are made by prepare_clip; {inputs!r} was given.")
        if isinstance(modalities, str) or not isinstance(modalities, Iterable):
            raise UsageError(f"Modalities are a sequence of names, not {modalities!r}.")
        for name in modalities:
            if name not in MODALITIES:
                raise UnknownComponent("modality", str(name), MODALITIES)
        return self._fuse(self._encode(inputs, modalities))

    def _predict_one(self, path: ClipPath, transcript: TranscriptSource) -> Prediction:
        name = os.fspath(path)
        seen = fingerprint(self.bundle, name, transcript)  # before the files are read
        timing: dict[str, float] = {}
        clip: Clip | None = None
        warnings: list[str] = []
        inputs = ClipInputs()
        scores = error = None
        with _timed(timing, "total"):
            try:
                with _timed(timing, "decode"):
                    text, unusable = self._find_text(name, transcript, warnings)
                    clip = self._read(name)
                    warnings += clip.warnings
                with _timed(timing, "inputs"):
                    inputs = prepare_clip(clip, text, self.spec, self.tokenizer)
                    warnings += inputs.warnings
                    if unusable is not None:
                        inputs = replace(inputs, absent={**inputs.absent, "text": unusable})
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
        named = None if scores is None else by_trait(scores[: len(TRAITS)].clip(0.0, 1.0))
        others = [] if scores is None else scores[len(TRAITS) :].tolist()
        return Prediction(
            clip=name,
            scores=None if named is None else Scores(**named),
            neuroticism=None if named is None else neuroticism(named["emotional_stability"]),
            other_scores=dict(zip(self.bundle.info.targets[len(TRAITS) :], others, strict=False)),
            modalities=self._uses(inputs, failed=scores is None),
            duration_s=None if clip is None else clip.info.duration_s,
            fingerprint=seen,
            model=self.bundle.model,
            timing_ms={stage: round(value, 2) for stage, value in timing.items()},
            warnings=tuple(dict.fromkeys(warnings)),
            error=error,
        )

    def _find_text(
        self, clip: str, transcript: TranscriptSource, warnings: list[str]
    ) -> tuple[str | None, str | None]:
        """Return what is said, and why a file that merely lies beside the clip is not used."""
        if isinstance(transcript, str):
            if os.path.isfile(transcript):
                warnings.append(
                    f"The transcript {transcript!r} is taken as words, and is the name of a file: "
                    "give a Path to read it."
                )
            return transcript, None
        if transcript is not None:
            return self._words(read_transcript(transcript)), None
        path = None if self.spec.text is None else find_transcript(clip)
        if path is None:
            return None, None
        try:
            return self._words(read_transcript(path)), None
        except TranscriptError as error:
            warnings.append(f"{path.name!r}, beside the clip, is not used: {error.message}")
            return None, f"The transcript beside the clip cannot be read: {error.message}"

    def _words(self, transcript: Transcript) -> str:
        """Return what is said, with the turns of a dialogue where they are read."""
        return transcript.turns if isinstance(self.spec.text, DialogueSpec) else transcript.text

    def _check_graphs(self) -> None:
        """Hold the graphs to what the bundle says that it reads and gives."""
        wanted = {
            f"encoder_{name}": {f"{name}_tokens", f"{name}_tokens_mask"}
            for name in self.spec.modalities
        } | {"fusion": {"scores"}}
        found = {name: set(session.outputs) for name, session in self._sessions.items()}
        if found != wanted:
            odd = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
            raise BundleCorrupt(
                f"The bundle {self.bundle.info.name!r} should have the graphs "
                f"{', '.join(wanted)}, with their outputs; missing, too many or with other "
                f"outputs: {', '.join(sorted(odd))}."
            )
        columns, targets = self._sessions["fusion"].outputs["scores"][-1], self.bundle.info.targets
        if columns != len(targets):
            raise BundleCorrupt(
                f"The fusion of {self.bundle.info.name!r} gives {columns} scores; "
                f"{len(targets)} are named: {', '.join(targets)}."
            )

    def _read_tokenizer(self) -> Tokenizer:
        """Build the tokenizer from the bytes that were checked."""
        content = self.bundle.files.get(TOKENIZER_FILE)
        if content is None:
            raise BundleCorrupt(
                f"The bundle {self.bundle.info.name!r} reads text and has no {TOKENIZER_FILE}."
            )
        return load_tokenizer(content)

    def _read(self, path: str) -> Clip:
        """Decode what the bundle reads, and nothing else."""
        return read_clip(path, **self.spec.reading(), threads=self._decoding)

    def _encode(
        self, inputs: ClipInputs, modalities: Sequence[str]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run the encoder of every modality that is there; the others say nothing."""
        wanted = [name in modalities and name in self.spec.modalities for name in MODALITIES]
        shown = inputs.present & np.array(wanted)
        if not shown.any():
            read = " or ".join(self.spec.modalities)
            why = " ".join(inputs.absent.values())
            raise MissingStream(f"There is no usable {read}. {why}".strip())
        fed = dict(self._silence) | {"present": shown[np.newaxis].astype(np.float32)}
        batch = collate([inputs], self.spec)
        for name, here in zip(MODALITIES, shown, strict=True):
            if here:
                fed |= self._sessions[f"encoder_{name}"].run(batch)
        return fed

    def _fuse(self, tokens: dict[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float64]:
        scores: npt.NDArray[np.float64] = (
            self._sessions["fusion"].run(tokens)["scores"][0].astype(np.float64)
        )
        return scores

    def _tokens_of_absent(self) -> dict[str, npt.NDArray[np.float32]]:
        """Tokens of absent modalities: one zero each, which presence takes out of the sum."""
        silence: dict[str, npt.NDArray[np.float32]] = {}
        for name in self.spec.modalities:
            outputs = self._sessions[f"encoder_{name}"].outputs
            for output, shape in outputs.items():
                size = [1 if isinstance(axis, str) else axis for axis in shape]
                fill = np.ones if output.endswith("_mask") else np.zeros
                silence[output] = fill(size, dtype=np.float32)
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


def _check_path(path: object, rule: str) -> ClipPath:
    """Return what is a path; a name in bytes is none, as it would be written to no record."""
    if isinstance(path, str | os.PathLike) and isinstance(os.fspath(path), str):
        return path
    raise UsageError(f"{rule}; {path!r} ({type(path).__name__}) was given.")


@contextmanager
def _timed(timing: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        timing[stage] = 1e3 * (time.perf_counter() - start)
