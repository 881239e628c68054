"""The exceptions of mmperson.

::

    MMPersonError                     exit code   HTTP
    ├─ UsageError                     2           400   the call can be fixed
    │  ├─ ConfigError                                   a recipe or option has a wrong key or value
    │  ├─ UnknownComponent                              no such name; carries the choices
    │  └─ MissingExtra                                  an optional dependency is not installed
    ├─ MediaError                     1           422   this clip cannot be used
    │  ├─ UnreadableMedia                               not a media file, damaged, or refused
    │  ├─ MissingStream                                 no stream that the bundle could read
    │  ├─ EmptyMedia                                    a stream without a single frame or sample
    │  └─ MediaTooLarge               1           413   beyond a limit
    ├─ TranscriptError                1           422   a transcript file cannot be read
    ├─ BundleError                    3           503   the weights are unusable
    │  ├─ BundleNotFound
    │  ├─ BundleCorrupt                                 a file's hash differs
    │  └─ BundleIncompatible                            schema, opset or input spec differs
    ├─ DataError                      2           400   a manifest or its labels are invalid
    ├─ TrainingError                  2           500
    │  ├─ NonFiniteLoss
    │  └─ ResumeMismatch
    └─ ExportError                    3           500
       ├─ ShapeMismatch
       └─ ParityExceeded

The message has the problem, the value and the allowed values; ``hint`` suggests a fix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MMPersonError(Exception):
    """Base class.

    Args:
        message: The problem, the value and the allowed values.
        clip: Path or name of the affected clip, if any.
        hint: A suggested fix.
    """

    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, clip: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.clip = clip
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UsageError(MMPersonError):
    """The call can be fixed by the caller."""

    exit_code = 2
    http_status = 400


class ConfigError(UsageError):
    """A recipe or an option has an unknown key or a value out of range."""


class UnknownComponent(UsageError):
    """An unknown name.

    Args:
        kind: Kind of component, for example ``"fusion"``.
        name: The unknown name.
        choices: The known names.
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        self.choices: Sequence[str] = sorted(choices)
        super().__init__(
            f"There is no {kind} called {name!r}; there are {', '.join(self.choices) or 'none'}.",
            hint=did_you_mean(name, self.choices),
        )


class MissingExtra(UsageError):
    """An optional dependency is not installed.

    Args:
        package: The import that failed.
        extra: The extra of mmperson that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"This needs the package {package!r}, which is not installed.",
            hint=f"Install it with: pip install 'mmperson[{extra}]'",
        )
        self.package = package
        self.extra = extra


class MediaError(MMPersonError):
    """This clip cannot be used; the other clips of a batch can."""

    http_status = 422


class UnreadableMedia(MediaError):
    """The file is not a supported media file, is malformed, or was rejected."""


class MissingStream(MediaError):
    """The file has no stream that the caller can use."""


class EmptyMedia(MediaError):
    """The file or a stream has no frame or sample."""


class MediaTooLarge(MediaError):
    """The file exceeds a limit of ``MediaLimits``."""

    http_status = 413


class TranscriptError(MMPersonError):
    """A transcript file cannot be read."""

    http_status = 422


class BundleError(MMPersonError):
    """The weights cannot be used."""

    exit_code = 3
    http_status = 503


class BundleNotFound(BundleError):
    """There is no bundle of that name or in that folder."""


class BundleCorrupt(BundleError):
    """A file of the bundle is missing or differs from the shipped one."""


class BundleIncompatible(BundleError):
    """The bundle was made for another schema, opset or input specification."""


class DataError(MMPersonError):
    """A corpus, a manifest or its labels are invalid.

    Args:
        message: The problem.
        findings: Single problems, one line each.
        hint: A suggested fix.
    """

    exit_code = 2
    http_status = 400

    def __init__(
        self, message: str, *, findings: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {finding}" for finding in self.findings)])


class TrainingError(MMPersonError):
    """Training cannot start or continue."""

    exit_code = 2


class NonFiniteLoss(TrainingError):
    """The loss became infinite or NaN."""


class ResumeMismatch(TrainingError):
    """A run folder has a checkpoint of another recipe."""


class ExportError(MMPersonError):
    """A network cannot be exported."""

    exit_code = 3


class ShapeMismatch(ExportError):
    """A graph's outputs have another shape than the network's."""


class ParityExceeded(ExportError):
    """A graph's outputs differ from the network's by more than the tolerance.

    Args:
        output: Name of the output and of the case.
        difference: Largest absolute difference.
        tolerance: Largest allowed difference.
    """

    def __init__(self, output: str, difference: float, tolerance: float) -> None:
        super().__init__(
            f"{output} differs by {difference:.3g} between torch and ONNX Runtime; "
            f"{tolerance:.3g} is allowed."
        )
        self.output = output
        self.difference = difference
        self.tolerance = tolerance


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    """Return ``Did you mean …?`` for the nearest choice, or None if none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else None
