"""Read label pickles without executing them.

A pickle is a program: Python's ``pickle`` imports, calls and allocates what the file asks for. This
reader interprets the two dozen opcodes of dictionaries written by Python 2 over plain strings and
numbers. It rejects any other opcode *before* reading its argument. It never imports or calls what
the file names: it compares the few allowed numpy globals as text, and requires a numpy scalar to be
eight bytes of float64.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from mmperson.datasets.tables import read_bytes
from mmperson.errors import DataError

MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest pickle; the largest of First Impressions V2 has 1.5 MB. This bounds memory too: hostile
content expands to about a hundred bytes of objects per byte."""

_DTYPE: Final = "numpy dtype"
_SCALARS: Final = ("numpy.core.multiarray scalar", "numpy._core.multiarray scalar")
_GLOBALS: Final = (_DTYPE, *_SCALARS)

_OPCODES: Final = {op.code.encode("latin-1"): op for op in pickletools.opcodes}
_ALLOWED: Final = frozenset(
    [
        *("PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "EMPTY_DICT", "SETITEM", "SETITEMS"),
        *("MARK", "NONE", "TUPLE", "TUPLE2", "TUPLE3", "BINFLOAT", "BININT", "BININT1", "BININT2"),
        *("SHORT_BINSTRING", "BINSTRING", "BINUNICODE"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
    ]
)


def read_labels(path: str | Path) -> dict[str, dict[str, float]]:
    """Read a pickle of scores by trait and clip, such as ``annotation_training.pkl``.

    Args:
        path: The pickle, at most ``MAX_BYTES`` long.

    Returns:
        Finite numbers by trait name, then by clip name.

    Raises:
        DataError: The file is missing, too large or malformed, or holds anything else.
    """
    path = Path(path)
    labels: dict[str, dict[str, float]] = {}
    for trait, scores in _read_dict(path).items():
        if not isinstance(scores, dict):
            raise _wrong_content(
                path, f"{_short(trait)} holds a {_kind(scores)}", "a dict of scores"
            )
        for clip, score in scores.items():
            if not isinstance(score, float) or not math.isfinite(score):
                actual = f"{_short(trait)} of {_short(clip)} is {_kind(score)}"
                raise _wrong_content(path, actual, "a finite float")
        labels[trait] = scores
    return labels


def read_texts(path: str | Path) -> dict[str, str]:
    """Read a pickle of texts by clip, such as ``transcription_training.pkl``.

    Args:
        path: The pickle, at most ``MAX_BYTES`` long.

    Returns:
        Text by clip name.

    Raises:
        DataError: See ``read_labels``.
    """
    path = Path(path)
    texts = _read_dict(path)
    for clip, text in texts.items():
        if type(text) is not str:
            raise _wrong_content(path, f"{_short(clip)} holds a {_kind(text)}", "text")
    return texts


def _read_dict(path: Path) -> dict[str, Any]:
    result = _Machine(path).run(read_bytes(path, MAX_BYTES))
    if not isinstance(result, dict):
        raise _wrong_content(path, f"it holds a {_kind(result)}", "a dict")
    return result


class _Mark:
    """Start of the items of a SETITEMS or a TUPLE."""


class _Global(str):
    """A global as ``module name``, which is only compared."""


class _Float64:
    """The dtype of the scalars: float64, little-endian."""


_FLOAT64_ARGUMENTS: Final = ("f8", 0, 1)
_FLOAT64_STATE: Final = (3, "<", None, None, None, -1, -1, 0)


class _Machine:
    """A pickle machine with a few opcodes; its errors name the file and the byte."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        # A dict, because the file chooses the indices: a large one must cost nothing.
        self.memo: dict[int, Any] = {}
        self.place = ""

    def run(self, content: bytes) -> Any:
        try:
            for name, argument in self._opcodes(content):
                if name == "STOP":
                    (result,) = self.stack
                    return result
                self._execute(name, argument)
        except (ValueError, IndexError, KeyError, TypeError, struct.error) as error:
            raise DataError(
                f"{str(self.path)!r} is malformed: {self.place} fails ({error})."
            ) from error
        raise AssertionError("unreachable: _opcodes ends with STOP or an error")

    def _opcodes(self, content: bytes) -> Iterator[tuple[str, Any]]:
        stream = io.BytesIO(content)
        while True:
            position = stream.tell()
            code = stream.read(1)
            if not code:
                self.place = f"byte {position}"
                raise ValueError("the file ends before STOP")
            opcode = _OPCODES.get(code)
            name = opcode.name if opcode else f"{code!r}"
            self.place = f"opcode {name} at byte {position}"
            if opcode is None or name not in _ALLOWED:
                self._refuse(self.place, f"the opcodes {', '.join(sorted(_ALLOWED))}")
            yield name, opcode.arg.reader(stream) if opcode.arg else None

    def _execute(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "BINFLOAT" | "BININT" | "BININT1" | "BININT2":
                stack.append(argument)
            case "SHORT_BINSTRING" | "BINSTRING" | "BINUNICODE":
                argument.encode("utf-8")  # Rejects lone surrogates.
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                value = self.memo[argument]
                # Otherwise a few bytes could nest one dict or tuple exponentially.
                if isinstance(value, dict | tuple):
                    raise ValueError(f"a {_kind(value)} is used twice")
                stack.append(value)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._to_mark()
                self._fill(stack[-1], items)
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                stack.append(_Mark())
            case "NONE":
                stack.append(None)
            case "TUPLE":
                stack.append(tuple(self._to_mark()))
            case "TUPLE2" | "TUPLE3":
                size = int(name[-1])
                if len(stack) < size:
                    raise IndexError("the stack is too short")
                stack[-size:] = [tuple(stack[-size:])]
            case "GLOBAL":
                if argument not in _GLOBALS:
                    self._refuse(
                        f"the global {_short(argument)}", f"the globals {', '.join(_GLOBALS)}"
                    )
                stack.append(_Global(argument))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._call(function, arguments))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], _Float64) or state != _FLOAT64_STATE:
                    self._refuse(f"{self.place} of {_kind(stack[-1])}", "little-endian float64")

    def _to_mark(self) -> list[Any]:
        items: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def _fill(self, target: Any, items: list[Any]) -> None:
        keys = items[::2]
        if not isinstance(target, dict) or not all(type(key) is str for key in keys):
            self._refuse(self.place, "dicts with text as keys")
        pairs = dict(zip(keys, items[1::2], strict=True))
        if len(pairs) < len(keys) or not target.keys().isdisjoint(pairs):
            raise ValueError("a key occurs twice")
        target.update(pairs)

    def _call(self, function: Any, arguments: Any) -> _Float64 | float:
        if isinstance(function, _Global) and function == _DTYPE:
            if arguments != _FLOAT64_ARGUMENTS:
                self._refuse(f"a numpy dtype at {self.place}", "little-endian float64")
            return _Float64()
        if isinstance(function, _Global):
            match arguments:
                case (_Float64(), str(raw)) if len(raw) == 8:
                    value: float = struct.unpack("<d", raw.encode("latin-1"))[0]
                    return value
            self._refuse(f"a numpy scalar at {self.place}", "eight bytes of little-endian float64")
        self._refuse(f"a call of {_kind(function)} at {self.place}", "numpy dtypes and scalars")

    def _refuse(self, rejected: str, allowed: str) -> NoReturn:
        raise DataError(
            f"{str(self.path)!r} contains {rejected}; only {allowed} are allowed.",
            hint="Use the pickles as published with the corpus.",
        )


def _kind(value: object) -> str:
    """Return a number as text, and the type of anything else."""
    return str(value) if isinstance(value, float) else type(value).__name__.strip("_").lower()


def _short(text: str) -> str:
    """Quote a name from the file, truncated: it may be megabytes long."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _wrong_content(path: Path, actual: str, expected: str) -> DataError:
    return DataError(f"{str(path)!r} is malformed: {actual}; {expected} was expected.")
