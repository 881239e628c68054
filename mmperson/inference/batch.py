"""Score many clips in worker processes.

Decoding one clip overlaps scoring another, and a clip that crashes its worker costs only its own
record.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmperson.errors import UsageError
from mmperson.inference.bundle import DEFAULT_BUNDLE, open_bundle
from mmperson.inference.predictor import Predictor
from mmperson.inference.providers import Provider
from mmperson.inference.scoring import Job, ScoringWorkload
from mmperson.media.decode import Decode
from mmperson.pool.worker_pool import (
    DEFAULT_MEMORY_MB,
    DEFAULT_TIMEOUT_S,
    WorkerLimits,
    imap_unordered,
)
from mmperson.schema import Prediction


def predict_many(
    clips: Iterable[str | os.PathLike[str]],
    *,
    bundle: str | Path = DEFAULT_BUNDLE,
    provider: Provider = "cpu",
    decode: Decode = "exact",
    workers: int | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_mb: float = DEFAULT_MEMORY_MB,
) -> Iterator[Prediction]:
    """Score many clips in worker processes.

    ``clips`` may be a generator: it is consumed as workers become free. Transcripts are sidecar
    files. On a CPU, scores are bit-identical for any number of workers and to
    ``Predictor.predict``.

    Args:
        clips: Paths.
        bundle: Name of a shipped bundle, or a bundle folder.
        provider: Where graphs run; each worker has sessions of its own.
        decode: Which frames of a video are decoded.
        workers: Number of processes; None for one per processor.
        timeout_s: Timeout per clip in seconds of wall time.
        memory_mb: Memory limit per clip beyond that of the opened bundle, in MiB. Linux only: macOS
            does not enforce it.

    Returns:
        A record per clip, in the order of the clips, each as soon as it and all before it are
        complete. A clip that cannot be scored has a record with an error.

    Raises:
        UsageError: A value out of range, not a path, or the provider is not available.
        UnknownComponent: There is no such profile or provider.
        BundleError: There is no such bundle, or workers cannot open it.
    """
    if isinstance(clips, str | bytes | os.PathLike) or not isinstance(clips, Iterable):
        raise UsageError(f"Clips are a sequence of paths, not {clips!r}.")
    limits = WorkerLimits(workers, timeout_s, memory_mb)
    work = ScoringWorkload(open_bundle(bundle), provider, decode)
    return score_jobs(work, _jobs(clips), limits)


def score_jobs(
    work: ScoringWorkload,
    jobs: Iterable[Job],
    limits: WorkerLimits | None,
    *,
    ordered: bool = True,
) -> Iterator[Prediction]:
    """Score clips in workers, or in this process.

    Args:
        work: The bundle and its settings.
        jobs: Clips, consumed as workers become free.
        limits: Number and limits of workers; None to score in this process without limits.
        ordered: Whether records keep the order of the clips, or come as soon as they are complete.

    Returns:
        A record per clip.
    """
    if limits is None:
        predictor = Predictor(work.bundle, provider=work.provider, decode=work.decode)
        return (
            predictor.predict(job.clip, job.transcript and Path(job.transcript)) for job in jobs
        )
    answers = imap_unordered(work, jobs, limits)
    return _in_order(answers) if ordered else (record for _, record in answers)


def _in_order(answers: Iterable[tuple[int, Prediction]]) -> Iterator[Prediction]:
    early: dict[int, Prediction] = {}
    following = 0
    for number, record in answers:
        early[number] = record
        while following in early:
            yield early.pop(following)
            following += 1


def _jobs(clips: Iterable[str | os.PathLike[str]]) -> Iterator[Job]:
    for clip in clips:
        name = os.fspath(clip) if isinstance(clip, str | os.PathLike) else None
        if not isinstance(name, str):
            raise UsageError(f"A clip is a path (str or Path), not {clip!r}.")
        yield Job(name)
