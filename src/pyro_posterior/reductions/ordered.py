"""What is read off draws in order: highest-density intervals and modes, row by row."""

from __future__ import annotations

import math

import numpy as np


def highest_density(ordered: np.ndarray, probability: float) -> np.ndarray:
    """The shortest interval between two draws that holds a share of them.

    Of ``n`` draws the interval spans ``floor(probability * n)`` steps from one to the next, as
    ArviZ's ``hdi`` of one mode does; of several as short ones the lowest is taken.

    Parameters
    ----------
    ordered
        ``(row, draw)``, rows in rising order.
    probability
        In [0, 1].

    Returns
    -------
    ``(2, row)``, the lower and the upper end.
    """
    count = ordered.shape[1]
    steps = min(math.floor(probability * count), count - 1)
    widths = np.subtract(ordered[:, steps:], ordered[:, : count - steps], dtype=np.float64)
    first = widths.argmin(axis=1)
    rows = np.arange(len(ordered))
    return np.stack([ordered[rows, first], ordered[rows, first + steps]])


def most_frequent(ordered: np.ndarray) -> np.ndarray:
    """The mode of each row: of whole numbers the one drawn most often (the smallest of several),
    of other numbers the half-sample mode.

    The half-sample mode halves the draws again and again, keeping the shortest half: Robertson and
    Cryer, Journal of the American Statistical Association 69 (1974).

    Parameters
    ----------
    ordered
        ``(row, draw)``, rows in rising order.

    Returns
    -------
    ``(row,)``, of the dtype of ``ordered``.
    """
    if ordered.dtype.kind != "f":
        return _longest_run(ordered)
    whole = (ordered == np.floor(ordered)).all(axis=1)
    if whole.all():
        return _longest_run(ordered)
    modes = _half_sample(ordered)
    if whole.any():
        modes[whole] = _longest_run(ordered[whole])
    return modes


def _longest_run(ordered: np.ndarray) -> np.ndarray:
    rows, count = ordered.shape
    steps = np.arange(count)
    begins = np.empty(ordered.shape, bool)
    begins[:, 0] = True
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=begins[:, 1:])
    first = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
    last = (steps - first).argmax(axis=1)  # the first place where the longest run is as long
    return ordered[np.arange(rows), last].copy()


def _half_sample(ordered: np.ndarray) -> np.ndarray:
    while ordered.shape[1] > 3:
        half = math.ceil(ordered.shape[1] / 2)
        widths = ordered[:, half - 1 :] - ordered[:, : ordered.shape[1] - half + 1]
        first = widths.argmin(axis=1)
        ordered = np.take_along_axis(ordered, first[:, None] + np.arange(half), axis=1)
    if ordered.shape[1] == 3:
        below, above = ordered[:, 1] - ordered[:, 0], ordered[:, 2] - ordered[:, 1]
        middle = ordered[:, 1]
        lower, upper = (ordered[:, 0] + middle) / 2, (middle + ordered[:, 2]) / 2
        return np.where(below < above, lower, np.where(above < below, upper, middle))
    return np.asarray(ordered.mean(axis=1), ordered.dtype)
