"""The git commit of mmperson's source tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import mmperson


def source_commit(length: int = 40) -> str | None:
    """Return the commit of the source tree, None without one or without git.

    A package that is installed inside another repository has no commit.

    Args:
        length: Number of hex digits; ``-dirty`` is appended if files have changed.
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
