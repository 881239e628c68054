"""The bundle folder: the only thing that crosses from the training world to the inference world.

``bundle.json`` names every other file with its size and SHA-256. A bundle is read whole and checked
before any part of it is used, and what is used are the bytes that were checked.
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
    """What a file must be.

    Attributes:
        sha256: Hash of its content, 64 hex digits.
        bytes: Its size.
    """

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0, le=MAX_FILE_BYTES)


class Quality(_Part):
    """Quality that was measured on some rows.

    Attributes:
        n: Number of rows.
        mean: Metrics by name, averaged over traits; None for what could not be judged.
        intervals: Their 95 % intervals.
    """

    n: int = Field(ge=0, le=1 << 53)
    mean: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]] = {}


class BundleInfo(_Part):
    """Content of ``bundle.json``.

    Attributes:
        schema_version: Version of this format.
        name: Name of the bundle.
        version: Version of the mmperson that made it.
        modalities: Modalities that it reads.
        traits: Order of the scores.
        targets: What the columns of the fusion's output are: the traits, then any others.
        spec: Preprocessing of its inputs.
        spec_hash: Hash of ``spec``.
        opset: ONNX opset of the graphs.
        precision: ``fp32``, ``fp16``, ``int8`` or ``int8-static`` of each graph, by name.
        recipe: The resolved recipe of the training.
        recipe_hash: Hash of the recipe.
        commit: Commit of the source that made it.
        metrics: Measured quality by rows and protocol, such as ``validation, official``.
        parity: Largest differences of scores between these graphs and the network, by gate.
        licence: Licence of the weights.
        files: Every other file of the folder.
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
        folder: Where it was read from.
        info: Its facts.
        files: Content of its graphs and its tokenizer, by file name.
    """

    folder: Path
    info: BundleInfo
    files: dict[str, bytes]

    @property
    def model(self) -> str:
        """Name and version, as records show them."""
        return f"{self.info.name} {self.info.version}"

    @cached_property
    def hash(self) -> str:
        """SHA-256 of its facts, and through them of its files: 64 hex digits."""
        return hashlib.sha256(self.info.model_dump_json().encode()).hexdigest()


def open_bundle(name: str | Path = DEFAULT_BUNDLE) -> Bundle:
    """Read and check a bundle.

    Args:
        name: Name of a shipped bundle, or a folder; see ``find_bundle``.

    Raises:
        UsageError: That is neither a name nor a folder.
        BundleNotFound: There is none.
        BundleCorrupt: A file is missing, too many, or not the one that was shipped.
        BundleIncompatible: It was made for another schema, opset, order of traits or spec.
    """
    folder = find_bundle(name)
    info = _read_info(folder / INFO_FILE)
    _check_compatible(info, folder)
    try:
        found = set(os.listdir(folder)) - {INFO_FILE}
    except OSError as error:
        raise _unreadable(folder, error) from error
    if found != set(info.files):
        odd = ", ".join(sorted(found ^ set(info.files)))
        raise BundleCorrupt(
            f"The bundle {str(folder)!r} should hold exactly the files of {INFO_FILE}; "
            f"missing or too many: {odd}."
        )
    files = {name: _read_checked(folder / name, facts) for name, facts in info.files.items()}
    needed = {name: data for name, data in files.items() if name.endswith((".onnx", ".json"))}
    return Bundle(folder, info, needed)


def find_bundle(name: str | Path) -> Path:
    """Return the folder of a bundle by name or path.

    A ``Path``, or a string with a separator or a dot at its start, is a folder. Any other string is
    the name of a shipped bundle, and a folder only if none has that name: what happens to lie in
    the current folder never takes the place of what was shipped.

    Args:
        name: Name of a shipped bundle, or a folder.

    Raises:
        UsageError: That is neither a name nor a folder.
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
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no name of a file
        pass
    except OSError as error:
        raise _unreadable(Path(name), error) from error
    names = shipped_bundles()
    raise BundleNotFound(
        f"There is no bundle {str(name)!r}: no folder with a {INFO_FILE}, and not one of "
        f"{', '.join(names) or 'no shipped bundles'}.",
        hint=did_you_mean(str(name), names),
    )


def shipped_bundles() -> list[str]:
    """Return the names of the bundles that came with this installation."""
    return sorted(
        {path.parent.name for folder in weight_folders() for path in folder.glob("*/bundle.json")}
    )


def _unreadable(path: Path, error: OSError) -> BundleCorrupt:
    return BundleCorrupt(
        f"{str(path)!r} cannot be read: {error.strerror or error}.",
        hint="Give this account the right to read it, or use another bundle.",
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
        info.model_dump_json()  # what cannot be written has no hash
    except (ValueError, RecursionError) as error:
        raise BundleCorrupt(f"{str(path)!r} is no valid bundle description: {error}") from error
    return info


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _check_compatible(info: BundleInfo, folder: Path) -> None:
    problem = None
    if info.schema_version != SCHEMA_VERSION:
        problem = f"has schema version {info.schema_version}, not {SCHEMA_VERSION}"
    elif info.opset > MAX_OPSET:
        problem = f"needs ONNX opset {info.opset}; up to {MAX_OPSET} is supported"
    elif info.traits != TRAITS:
        problem = f"scores {', '.join(info.traits)}, not {', '.join(TRAITS)}"
    elif len(set(info.targets)) < len(info.targets):
        problem = f"names a score twice: {', '.join(info.targets)}"
    elif info.targets[: len(TRAITS)] != TRAITS:
        problem = f"gives {', '.join(info.targets)}, not {', '.join(TRAITS)} first"
    elif info.spec.hash != info.spec_hash:
        problem = (
            f"was made for input spec {info.spec_hash[:12]}, and this mmperson prepares "
            f"{info.spec.hash[:12]} from the same numbers"
        )
    elif info.modalities != info.spec.modalities:
        problem = f"reads {info.modalities}, but its spec prepares {info.spec.modalities}"
    if problem is not None:
        raise BundleIncompatible(
            f"The bundle {str(folder)!r} {problem}.",
            hint="Use the mmperson that made it, or export it again.",
        )


def _read_checked(path: Path, facts: FileInfo) -> bytes:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != facts.bytes:
            raise BundleCorrupt(
                f"{str(path)!r} is not the file of {facts.bytes} bytes that was shipped."
            )
        with path.open("rb") as file:
            content = file.read(facts.bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise BundleCorrupt(
            f"{str(path)!r} has another hash than the file that was shipped.",
            hint="Install mmperson again, or fetch the bundle again.",
        )
    return content
