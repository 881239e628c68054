"""Which clips a file of records still lacks, so that a batch that runs again skips the others."""

from __future__ import annotations

import json
import os
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
    """Make a file of records ready to grow, and return the clips that are still to be scored.

    Dropped are a torn last line, and the records of those clips that failed or were made from
    something else; all others stay.

    Args:
        out: The file of JSON lines; nobody else may write to it meanwhile.
        clips: The clips of this run, as they were named; one may occur several times.
        fingerprints: What each clip is scored from, see ``fingerprint``.

    Raises:
        UsageError: The file holds something else than records, or cannot be rewritten.
    """
    left = dict.fromkeys(clips, 0)
    for clip in clips:
        left[clip] += 1
    target = Path(os.path.realpath(out))
    unfinished = temp_path(target.with_name(_TEMP_NAME))
    remove_stale(target.parent, _TEMP_NAME)
    try:
        with write_errors(out):
            with target.open("rb") as lines, unfinished.open("wb") as kept:
                kept.writelines(line for line in lines if _stands(line, out, left, fingerprints))
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


def _stands(
    line: bytes, out: Path, left: dict[str, int], fingerprints: Mapping[str, str | None]
) -> bool:
    """Return whether a line stays; the record of a clip of this run is counted off."""
    if not line.endswith(b"\n"):  # torn, which only the last can be
        return False
    try:
        record = Prediction.model_validate(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"--out {str(out)!r} holds something else than records of mmperson.",
            hint="Give another file.",
        ) from error
    if record.clip not in left:
        return True
    if record.error is not None or not record.fingerprint or not left[record.clip]:
        return False
    if record.fingerprint != fingerprints[record.clip]:
        return False
    left[record.clip] -= 1
    return True
