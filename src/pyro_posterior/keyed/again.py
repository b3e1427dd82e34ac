"""Numbers for values that are drawn again: few, so that each is hashed by itself, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pyro_posterior.keyed.keys import Key, Where
from pyro_posterior.keyed.streams import joined

_GOLD: Any = np.uint64(0x9E3779B97F4A7C15)


def numbers_again(
    key: Key, at: Where, columns: int, places: np.ndarray, turns: np.ndarray, purpose: str = "again"
) -> tuple[np.ndarray, np.ndarray]:
    """Normal and uniform numbers, ``(turn, value)``, for some values of ``(len(at.draws), columns)``.

    Parameters
    ----------
    places
        Flat indices. A value's numbers do not depend on which others are asked for.
    turns
        The how-manieth numbers of each.
    """
    words = key.words(at, purpose)
    rows, column = np.divmod(places, columns)
    x: Any = (rows + at.draws.start).astype(np.uint64)
    x = _mixed(x * _GOLD + joined(words[0], words[1]))
    x ^= joined(words[2], words[3])
    x = _mixed(x + column.astype(np.uint64) * np.uint64(0xD1342543DE82EF95))
    x ^= joined(words[4], words[5])
    which: Any = 2 * turns[:, None].astype(np.uint64)
    one, other = (_unit(_mixed(x + (which + i) * _GOLD)) for i in (np.uint64(0), np.uint64(1)))
    return torch.special.ndtri(torch.from_numpy(one)).numpy(), other


def _mixed(x: Any) -> Any:
    """SplitMix64's last steps: every bit of the result depends on every bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _unit(x: Any) -> np.ndarray:
    made: np.ndarray = ((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return made
