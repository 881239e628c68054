"""The commit of the source tree that mmperson was imported from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import mmperson


def source_commit(length: int = 40) -> str | None:
    """Return the commit of the source tree, None if it has none or git cannot tell.

    A package that is installed somewhere inside another project is not of that one's commit.

    Args:
        length: Hex digits of the commit; ``-dirty`` follows if files have changed since.
    """
    package = Path(mmperson.__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != package.parent:
            return None
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD")[:length] + ("-dirty" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return None
