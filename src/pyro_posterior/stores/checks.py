"""Values of a file that somebody else may have written are what they have to be, or `ValueError`."""

from __future__ import annotations

from typing import Any


def check(right: bool, what: str) -> None:
    """Raise where something is not right."""
    if not right:
        raise ValueError(f"{what} is not what it can be")


def whole(value: Any, least: float = 0) -> int:
    """A whole number that is not too small, and fits into 64 bits unless it may be negative."""
    check(isinstance(value, int) and not isinstance(value, bool) and value >= least, "a number")
    check(least < 0 or value < 2**63, "a number")
    return int(value)


def text(value: Any) -> str:
    """A text."""
    check(isinstance(value, str), "a text")
    return str(value)


def numbers(value: Any) -> tuple[int, ...]:
    """A list of whole numbers."""
    check(isinstance(value, list), "a list")
    return tuple(whole(item) for item in value)


def names(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    check(isinstance(value, list), "a list")
    return tuple(text(item) for item in value)
