"""Find the clips that a file of records still lacks, to resume a batch."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mmperson.errors import UsageError
from mmperson.files import remove_stale, replace_file, temp_path, write_errors
from mmperson.schema import Prediction

_TEMP_NAME: Final = "mmperson-settled"


def remaining_clips(
    out: Path, clips: Sequence[str], fingerprints: Mapping[str, str | None]
) -> list[str]:
    """Remove stale records from a file, and return the clips that are still to be scored.

    Stale are an incomplete last line, and records of these clips that failed or have another
    fingerprint.

    Args:
        out: A file of JSON lines, to which no other process may write.
        clips: The clips of this run; a clip may occur several times.
        fingerprints: Current fingerprint of each clip, see ``fingerprint``.

    Raises:
        UsageError: The file has something else than records, or cannot be rewritten.
    """
    left = Counter(clips)
    target = Path(os.path.realpath(out))
    unfinished = temp_path(target.with_name(_TEMP_NAME))
    remove_stale(target.parent, _TEMP_NAME)
    try:
        with write_errors(out):
            with target.open("rb") as lines, unfinished.open("wb") as current:
                current.writelines(
                    line for line in lines if _is_current(line, out, left, fingerprints)
                )
            if unfinished.stat().st_size != target.stat().st_size:
                replace_file(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
    remaining = []
    for clip in clips:
        if left[clip]:
            left[clip] -= 1
            remaining.append(clip)
    return remaining


def _is_current(
    line: bytes, out: Path, left: Counter[str], fingerprints: Mapping[str, str | None]
) -> bool:
    """Return whether a line stays; a record of this run's clips is subtracted from ``left``."""
    if not line.endswith(b"\n"):  # an incomplete last line
        return False
    try:
        record = Prediction.model_validate(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"--out {str(out)!r} contains something other than records of mmperson.",
            hint="Use another file.",
        ) from error
    if record.clip not in left:
        return True
    if record.error is not None or not record.fingerprint or not left[record.clip]:
        return False
    if record.fingerprint != fingerprints[record.clip]:
        return False
    left[record.clip] -= 1
    return True
