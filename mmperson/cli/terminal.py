"""Text that others wrote, made safe to print: a terminal obeys some characters."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape


def visible(text: str) -> str:
    r"""Return text whose control and format characters are shown, not obeyed.

    >>> visible("clear\x1b[2J")
    'clear\\x1b[2J'
    """
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def plain(text: str) -> str:
    """Return text as ``visible`` does, for rich: nothing in it is markup."""
    return escape(visible(text))


def plain_lines(text: str) -> str:
    """Return text as ``plain`` does, except that its lines stay lines."""
    return "\n".join(map(plain, text.split("\n")))


def stderr_console(*, quiet: bool = False) -> Console:
    """Return where messages for people go, in lines as long as they are."""
    return Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
