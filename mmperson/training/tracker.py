"""What happened, a line a step: JSONL for people and programs, TensorBoard for curves."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import TextIO

from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "log.jsonl"


class Tracker:
    """Append numbers to ``log.jsonl`` and to TensorBoard files of a run folder.

    Args:
        run: The run folder.
        step: Steps that are already done; what an interrupted run logged after them is dropped.
        writes: False logs nothing, for processes that another one speaks for.
    """

    def __init__(self, run: Path, step: int, *, writes: bool = True) -> None:
        self._log: TextIO | None = None
        self._board: SummaryWriter | None = None
        if not writes:
            return
        path = run / LOG_FILE
        kept = _lines_until(path, step)
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text("".join(kept), encoding="utf-8")
        unfinished.replace(path)  # A kill must not take what was logged before.
        self._log = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=step)

    def log(self, step: int, **numbers: float) -> None:
        """Record named numbers after a step."""
        if self._log is None or self._board is None:
            return
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
            self._log.close()
            self._board.close()


def _lines_until(path: Path, step: int) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]
