"""Read and check a bundle folder, the only interface between training and inference.

``bundle.json`` lists every other file with its size and SHA-256. The whole bundle is read and
checked before use, and only the checked bytes are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

from pydantic import BaseModel, ConfigDict, Field

from mmperson.errors import (
    BundleCorrupt,
    BundleIncompatible,
    BundleNotFound,
    UsageError,
    did_you_mean,
)
from mmperson.preprocessing.spec import InputSpec
from mmperson.shipped import weight_folders
from mmperson.traits import TRAITS

SCHEMA_VERSION: Final = 1
DEFAULT_BUNDLE: Final = "impressions-text-audio"
INFO_FILE: Final = "bundle.json"
TOKENIZER_FILE: Final = "tokenizer.json"
MAX_OPSET: Final = 23
MAX_FILE_BYTES: Final = 1 << 30
MAX_INFO_BYTES: Final = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileInfo(_Part):
    """Size and hash of a file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0, le=MAX_FILE_BYTES)


class Quality(_Part):
    """Quality measured on some rows.

    Attributes:
        n: Number of rows.
        mean: Metrics by name, averaged over traits; None if undefined.
        intervals: Their 95 % intervals.
    """

    n: int = Field(ge=0, le=1 << 53)
    mean: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]] = {}


class BundleInfo(_Part):
    """Content of ``bundle.json``.

    Attributes:
        version: Version of mmperson that exported it.
        traits: Order of the scores.
        targets: Columns of the fusion's output: the traits, then any others.
        precision: ``fp32``, ``fp16``, ``int8`` or ``int8-static`` of each graph, by name.
        recipe: The resolved recipe of the training.
        commit: Commit of the source that exported it.
        metrics: Measured quality by rows and protocol, such as ``validation, official``.
        parity: Largest score differences between these graphs and the network, by check.
        files: Every other file of the folder, by name.
    """

    schema_version: int
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=200)
    version: str = Field(max_length=200)
    modalities: tuple[str, ...]
    traits: tuple[str, ...]
    targets: tuple[str, ...] = TRAITS
    spec: InputSpec
    spec_hash: str
    opset: int = Field(ge=1, le=1000)
    precision: dict[str, str]
    recipe: dict[str, Any]
    recipe_hash: str
    commit: str
    metrics: dict[str, Quality]
    parity: dict[str, Annotated[float, Field(ge=0)]]
    licence: str
    files: dict[str, FileInfo]


@dataclass(frozen=True)
class Bundle:
    """A checked bundle in memory.

    Attributes:
        folder: Its folder.
        info: Content of its ``bundle.json``.
        files: Content of its graphs and its tokenizer, by file name.
    """

    folder: Path
    info: BundleInfo
    files: dict[str, bytes]

    @property
    def model(self) -> str:
        """Name and version, as in records."""
        return f"{self.info.name} {self.info.version}"

    @cached_property
    def hash(self) -> str:
        """SHA-256 of ``info``, which holds the hashes of all files: 64 hex digits."""
        return hashlib.sha256(self.info.model_dump_json().encode()).hexdigest()


def open_bundle(name: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Read and check a bundle.

    Args:
        name: Name of a shipped bundle, or a folder; see ``find_bundle``.

    Raises:
        UsageError: The name has another type or is empty.
        BundleNotFound: There is none.
        BundleCorrupt: A file is missing, unexpected or altered.
        BundleIncompatible: Its schema, opset, order of traits or spec differs.
    """
    folder = find_bundle(name)
    info = _read_info(folder / INFO_FILE)
    _check_compatible(info, folder)
    try:
        names = set(os.listdir(folder)) - {INFO_FILE}
    except OSError as error:
        raise _unreadable(folder, error) from error
    if names != set(info.files):
        odd = ", ".join(sorted(names ^ set(info.files)))
        raise BundleCorrupt(
            f"The bundle {str(folder)!r} must have exactly the files of {INFO_FILE}; "
            f"missing or unexpected: {odd}."
        )
    files = {name: _read_checked(folder / name, facts) for name, facts in info.files.items()}
    needed = {name: data for name, data in files.items() if name.endswith((".onnx", ".json"))}
    return Bundle(folder, info, needed)


def find_bundle(name: str | Path) -> Path:
    """Return the folder of a bundle by name or path.

    A ``Path``, or a string with a separator or a leading dot, is a folder. Any other string is the
    name of a shipped bundle, and a folder only if none has that name: a folder in the current
    directory never replaces a shipped bundle.

    Args:
        name: Name of a shipped bundle, or a folder.

    Raises:
        UsageError: The name has another type or is empty.
        BundleNotFound: There is none.
        BundleCorrupt: The folder cannot be read.
    """
    if not isinstance(name, str | Path) or not str(name):
        raise UsageError(
            f"A bundle is a name (str) or a folder (Path), not {name!r}.",
            hint=f"The shipped bundles are {', '.join(shipped_bundles())}.",
        )
    if isinstance(name, str) and Path(name).name == name and not name.startswith("."):
        for folder in weight_folders():
            if os.path.isfile(folder / name / INFO_FILE):
                return folder / name
    try:
        if stat.S_ISREG(os.stat(Path(name) / INFO_FILE).st_mode):
            return Path(name)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        pass
    except OSError as error:
        raise _unreadable(Path(name), error) from error
    names = shipped_bundles()
    raise BundleNotFound(
        f"There is no bundle {str(name)!r}: neither a folder with a {INFO_FILE} nor one of the "
        f"shipped bundles ({', '.join(names) or 'none'}).",
        hint=did_you_mean(str(name), names),
    )


def shipped_bundles() -> list[str]:
    """Return the names of the bundles of this installation."""
    return sorted(
        {path.parent.name for folder in weight_folders() for path in folder.glob("*/bundle.json")}
    )


def _unreadable(path: Path, error: OSError) -> BundleCorrupt:
    return BundleCorrupt(
        f"{str(path)!r} cannot be read: {error.strerror or error}.",
        hint="Make it readable for this account, or use another bundle.",
    )


def _read_info(path: Path) -> BundleInfo:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_INFO_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > MAX_INFO_BYTES:
        raise BundleCorrupt(f"{str(path)!r} is larger than {MAX_INFO_BYTES} bytes.")
    try:
        info = BundleInfo.model_validate(json.loads(content, parse_constant=_refuse_constant))
        info.model_dump_json()  # needed for its hash
    except (ValueError, RecursionError) as error:
        raise BundleCorrupt(f"{str(path)!r} is not a valid bundle description: {error}") from error
    return info


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _check_compatible(info: BundleInfo, folder: Path) -> None:
    problem = None
    if info.schema_version != SCHEMA_VERSION:
        problem = f"has schema version {info.schema_version}, not {SCHEMA_VERSION}"
    elif info.opset > MAX_OPSET:
        problem = f"needs ONNX opset {info.opset}; up to {MAX_OPSET} is supported"
    elif info.traits != TRAITS:
        problem = f"scores {', '.join(info.traits)}, not {', '.join(TRAITS)}"
    elif len(set(info.targets)) < len(info.targets):
        problem = f"lists a target twice: {', '.join(info.targets)}"
    elif info.targets[: len(TRAITS)] != TRAITS:
        problem = f"has the targets {', '.join(info.targets)}; {', '.join(TRAITS)} must come first"
    elif info.spec.hash != info.spec_hash:
        problem = (
            f"has input spec {info.spec_hash[:12]}; this mmperson computes "
            f"{info.spec.hash[:12]} for it"
        )
    elif info.modalities != info.spec.modalities:
        problem = f"reads {info.modalities}, but its spec prepares {info.spec.modalities}"
    if problem is not None:
        raise BundleIncompatible(
            f"The bundle {str(folder)!r} {problem}.",
            hint="Use the version of mmperson that exported it, or export it again.",
        )


def _read_checked(path: Path, facts: FileInfo) -> bytes:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != facts.bytes:
            raise BundleCorrupt(
                f"{str(path)!r} is not a regular file of {facts.bytes} bytes, as declared."
            )
        with path.open("rb") as file:
            content = file.read(facts.bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise BundleCorrupt(
            f"{str(path)!r} does not have the hash that {INFO_FILE} declares.",
            hint="Reinstall mmperson, or download the bundle again.",
        )
    return content
