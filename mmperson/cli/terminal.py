"""Escape untrusted text for the terminal, and the console for messages."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape


def visible(text: str) -> str:
    r"""Escape control and format characters.

    >>> visible("clear\x1b[2J")
    'clear\\x1b[2J'
    """
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def plain(text: str) -> str:
    """Escape text as ``visible``, and rich markup."""
    return escape(visible(text))


def plain_lines(text: str) -> str:
    """Escape text as ``plain``, but keep line breaks."""
    return "\n".join(map(plain, text.split("\n")))


def stderr_console(*, quiet: bool = False) -> Console:
    """Return the console for messages, without line wrapping."""
    return Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
