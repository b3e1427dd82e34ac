"""Errors of summaries from parts of the draws that are independent of each other.

Draws in a hypercube depend on each other, so that their spread tells nothing of the error of their
mean; several hypercubes are independent, and how their means differ tells all. A mean's error is that
of the mean of the parts; that of a standard deviation comes from leaving parts out; that of a quantile
from how the parts' shares below it differ. For any other function see `function_error`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyro_posterior.reductions.statistic import Statistic

#: Shares of a few draws are in steps, and may agree in all parts by chance: what a quantile's or a
#: share's error is at least, in draws. A quantile lies between two of them.
STEP = 0.7

#: Most parts that other functions are called with; more are put together.
MOST = 8


def statistic_error(
    statistic: Statistic, rows: np.ndarray, value: np.ndarray, lengths: Sequence[int]
) -> np.ndarray | None:
    """Standard error of one statistic of each row; None where only `function_error` can tell.

    Parameters
    ----------
    statistic
        What was computed.
    rows
        ``(column, draw)`` in order of the draws, floating.
    value
        ``(column,)`` or, of an interval, ``(2, column)``.
    lengths
        Of the parts, which differ by at most one.
    """
    if statistic.kind in ("mean", "sum"):
        centred = rows.astype(np.float64) - rows.mean(1, dtype=np.float64)[:, None]
        error = parts_error(centred, lengths)
        return error * rows.shape[1] if statistic.kind == "sum" else error
    if statistic.kind in ("std", "var"):
        return _spread_error(rows, lengths, statistic.kind == "std")
    if statistic.counts:
        hits = _hits(rows, statistic) - value[:, None]
        return np.hypot(parts_error(hits, lengths), STEP / rows.shape[1])
    probabilities = statistic.probabilities
    if not probabilities:
        return None
    ordered = np.sort(rows, axis=1)
    ends = np.reshape(value, (len(probabilities), len(rows)))
    errors = [
        quantile_error(rows, ordered, end, q, lengths)
        for end, q in zip(ends, probabilities, strict=True)
    ]
    return np.reshape(errors, np.shape(value))


def parts_error(centred: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Error of the mean of rows that are given without it, ``(column, draw)``."""
    parts = _sums(centred, lengths) / centred.shape[1]
    return np.sqrt((parts**2).sum(1) * len(lengths) / (len(lengths) - 1))


def _spread_error(rows: np.ndarray, lengths: Sequence[int], root: bool) -> np.ndarray:
    """Error of a variance, or of its root, by the jackknife: each part left out in turn."""
    centred = rows.astype(np.float64) - rows.mean(1, dtype=np.float64)[:, None]
    squares = centred**2
    left = rows.shape[1] - np.asarray(lengths)
    means = (centred.sum(1)[:, None] - _sums(centred, lengths)) / left
    without = (squares.sum(1)[:, None] - _sums(squares, lengths)) / left - means**2
    without = np.maximum(without, 0.0)
    found = np.sqrt(without) if root else without
    return np.asarray(found.std(1) * (len(lengths) - 1) ** 0.5)


def quantile_error(
    rows: np.ndarray, ordered: np.ndarray, value: np.ndarray, q: float, lengths: Sequence[int]
) -> np.ndarray:
    """Error of the quantile ``value`` of each row, ``(column,)``.

    The error of the share of draws below it, from the parts, times the slope of the ordered draws
    around it. (Quantiles of the parts themselves lie at fixed places of their strata, and those of
    all draws but one part take two or three values: the spread of either says little.)
    """
    count = rows.shape[1]
    border = value[:, None].astype(rows.dtype)
    below = ((rows < border).astype(np.float64) + (rows <= border)) / 2
    share = np.hypot(parts_error(below - below.mean(1)[:, None], lengths), STEP / count)
    low, high = (min(max(q + side * window(q, count), 0.0), 1.0) for side in (-1, 1))
    slope = (_at(ordered, high) - _at(ordered, low)) / (high - low)
    return np.asarray(share * slope)


def window(q: float, count: int) -> float:
    """How far on either side of a quantile the slope is read off: two errors of independent draws."""
    return max(2 * (q * (1 - q) / count) ** 0.5, 1 / count)


def function_error(
    function: Callable[[np.ndarray], Any], draws: np.ndarray, lengths: Sequence[int]
) -> np.ndarray:
    """Error of any function of draws ``(draw, *shape)``, shaped as what it gives.

    From halves of the draws that are balanced over the parts (McCarthy, Review of the International
    Statistical Institute 37, 1969) and from the parts, each beside all draws; the larger of the two.
    The first holds for quantiles too, where leaving out one part fails. What grows with the number
    of draws, as a sum does, is nothing of the posterior's, and gets a large error.
    """
    pieces = np.split(draws, np.cumsum(_groups(lengths))[:-1])
    whole = np.asarray(function(draws))

    def squared(some: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(np.asarray(function(some)) * 1.0 - whole) ** 2, np.float64)

    halves = np.mean([squared(np.concatenate(half)) for half in _halves(pieces)], axis=0)
    parts = np.sum([squared(piece) for piece in pieces], axis=0)
    return np.asarray(np.sqrt(np.maximum(halves, parts / (len(pieces) * (len(pieces) - 1)))))


def _groups(lengths: Sequence[int]) -> list[int]:
    """Lengths of at most `MOST` groups of parts, a power of two."""
    count = 1
    while 2 * count <= min(len(lengths), MOST):
        count *= 2
    return [int(group.sum()) for group in np.array_split(np.asarray(lengths), count)]


def _halves(pieces: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Every row of a Hadamard matrix but the first, and its opposite."""
    return [
        [piece for i, piece in enumerate(pieces) if (i & row).bit_count() % 2 == side]
        for row, side in itertools.product(range(1, len(pieces)), (0, 1))
    ]


def _sums(rows: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """``(column, part)``."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.asarray(np.add.reduceat(rows, starts, axis=1))


def _hits(rows: np.ndarray, statistic: Statistic) -> np.ndarray:
    compare = {"share above": np.greater, "share below": np.less, "share at": np.equal}
    return np.asarray(compare[statistic.kind](rows, statistic.q or 0.0), np.float64)


def _at(ordered: np.ndarray, q: float) -> np.ndarray:
    place = q * (ordered.shape[1] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[1] - 1)
    part = place - below
    found = ordered[:, below].astype(np.float64) * (1 - part)
    return np.asarray(found + ordered[:, above].astype(np.float64) * part)
