"""The workload of a worker pool that scores clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from mmperson.errors import BundleError, MediaError
from mmperson.inference.builder import PredictionBuilder
from mmperson.inference.bundle import Bundle
from mmperson.inference.providers import Provider, check_provider
from mmperson.media.decode import Decode, check_profile
from mmperson.pool.worker_pool import WorkerPool, Workload
from mmperson.schema import Engine, Prediction, error_info


class Job(NamedTuple):
    """A clip to be scored.

    Attributes:
        clip: Its path, as in its record.
        transcript: Path of the transcript; None for a sidecar file.
    """

    clip: str
    transcript: str | None = None


ScoringPool = WorkerPool[Job, Prediction]


@dataclass(frozen=True)
class ScoringWorkload(Workload[Job, Prediction]):
    """Score clips with a bundle.

    Attributes:
        bundle: An opened bundle; each worker opens its folder again.
        provider: Where graphs run.
        decode: Which frames of a video are decoded.

    Raises:
        UsageError: The provider is not available.
        UnknownComponent: There is no such profile or provider.
    """

    bundle: Bundle
    provider: Provider = "cpu"
    decode: Decode = "exact"

    module: ClassVar = "mmperson.inference.score_worker"

    def __post_init__(self) -> None:
        check_profile(self.decode)
        check_provider(self.provider)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the worker's ``initialize``."""
        folder = str(self.bundle.folder.resolve())
        return {"bundle": folder, "provider": self.provider, "decode": self.decode}

    def read(self, task: Job, answer: dict[str, Any]) -> Prediction:
        """Parse a record, see ``Workload.read``."""
        record = Prediction.model_validate(answer)
        if record.clip != task.clip:
            raise ValueError(f"This is the record of {record.clip!r}.")
        return record

    def on_crash(self, task: Job, error: MediaError) -> Prediction:
        """Return the record of a clip that crashed its worker."""
        engine = Engine(provider=self.provider, precision=self.bundle.info.precision)
        return PredictionBuilder(task.clip, error=error_info(error)).record(self.bundle, engine)

    def on_startup_error(self, problem: str) -> BundleError:
        """Return the error for a bundle that cannot be opened."""
        return BundleError(problem)
