"""Names and messages that come from elsewhere, so that a terminal shows them and obeys none."""

from __future__ import annotations


def printable(text: str, *, lines: bool = True) -> str:
    """``text`` with its control characters written out, as in ``\\x1b``.

    A site's name may hold anything, also codes that clear a screen or turn the direction of
    writing around.

    Parameters
    ----------
    text
        What is to be shown.
    lines
        Leave ends of lines as they are; else these are written out too.

    Examples
    --------
    >>> print(printable("z\\x1b[2J"))
    z\\x1b[2J
    """
    return "".join(
        each if each.isprintable() or (lines and each == "\n") else _written_out(each)
        for each in text
    )


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
