"""The log of a run: JSONL and TensorBoard."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from torch.utils.tensorboard import SummaryWriter

from mmperson.files import atomic_write, write_errors

LOG_FILE = "log.jsonl"


class Tracker:
    """Append numbers to ``log.jsonl`` and to TensorBoard files of a run folder.

    Args:
        run: The run folder.
        step: Steps done; later entries of an interrupted run are removed.
        writes: False logs nothing, for processes other than the main one.

    Raises:
        UsageError: The log cannot be written.
    """

    def __init__(self, run: Path, step: int, *, writes: bool = True) -> None:
        self.run = run
        self._log: TextIO | None = None
        self._board: SummaryWriter | None = None
        if not writes:
            return
        path = run / LOG_FILE
        with atomic_write(path) as unfinished:  # A kill must not lose earlier entries.
            unfinished.write_text("".join(_lines_until(path, step)), encoding="utf-8")
        with write_errors(run):
            self._log = path.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def log(self, step: int, **numbers: float) -> None:
        """Record named numbers after a step."""
        if self._log is None or self._board is None:
            return
        with write_errors(self.run):
            self._log.write(json.dumps({"step": step, **numbers}) + "\n")
            self._log.flush()
            for name, number in numbers.items():
                self._board.add_scalar(name, number, step)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._log is not None and self._board is not None:
            # After another error, a failed write must not replace it.
            for file in (self._log, self._board):
                with suppress(OSError) if error else write_errors(self.run):
                    file.close()


def _lines_until(path: Path, step: int) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]
