"""Means and mean squared deviations of rows of draws, right wherever the dtype can hold them.

Squares of float32 numbers near 1e25 overflow and those near 1e-30 vanish; rows where that may have
happened are few and are taken again in float64, scaled by a power of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: `einsum` adds squares one after the other in a few lanes: long rows are cut, for accuracy.
SQUARES_SEGMENT = 4096

#: A mean square this much above the smallest number has lost nothing to squares that vanished.
ROOM = 1e8


@dataclass(frozen=True)
class Spread:
    """Variance and standard deviation of each row, in float64."""

    var: np.ndarray
    std: np.ndarray


def mean_of(rows: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean of each row, from its sum unless parts of that overflowed."""
    count = rows.shape[1]
    mean: np.ndarray = total / total.dtype.type(count)
    beyond = ~np.isfinite(mean)
    if beyond.any():
        beyond[beyond] = np.isfinite(rows[beyond]).all(axis=1)
        scaled, scale = _scaled(rows[beyond])
        mean[beyond] = scaled.mean(axis=1) * scale
    return mean


def spread_of(rows: np.ndarray, mean: np.ndarray, stage: np.ndarray) -> Spread:
    """Variance and sd (ddof 0) of each row.

    Parameters
    ----------
    rows
        ``(row, draw)``, floating.
    mean
        Of each row.
    stage
        Room for as many numbers as ``rows`` has, overwritten.
    """
    centred = stage[: rows.size].reshape(rows.shape)
    np.subtract(rows, mean[:, None], out=centred)
    var = mean_square(centred)
    std = np.sqrt(var)
    tiny = np.finfo(rows.dtype).tiny * ROOM
    doubtful = ~((var > tiny) & np.isfinite(var))
    if doubtful.any():
        doubtful[doubtful] = _can_be_saved(rows[doubtful])
        if doubtful.any():
            scaled, scale = _scaled(rows[doubtful])
            scaled -= scaled.mean(axis=1)[:, None]
            std[doubtful] = np.sqrt(mean_square(scaled)) * scale
            var[doubtful] = np.square(std[doubtful])
    return Spread(var, std)


def _can_be_saved(rows: np.ndarray) -> np.ndarray:
    """Rows that are finite and not all of one value, whose sd is 0 as it is."""
    return np.isfinite(rows).all(axis=1) & (rows != rows[:, :1]).any(axis=1)


def _scaled(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in float64 with a largest value between a half and one, and by what to multiply."""
    rows = rows.astype(np.float64)
    _, exponent = np.frexp(np.abs(rows).max(axis=1, initial=0.0))
    return np.ldexp(rows, -exponent[:, None]), np.ldexp(1.0, exponent)


def mean_square(centred: np.ndarray) -> np.ndarray:
    """Mean squared deviation of each row, in float64, freed of the rounding error of the mean.

    The corrected two-pass algorithm: Chan, Golub and LeVeque, The American Statistician 37 (1983).
    """
    count = centred.shape[1]
    squares = np.zeros(len(centred))
    for start in range(0, count, SQUARES_SEGMENT):
        part = centred[:, start : start + SQUARES_SEGMENT]
        squares += np.einsum("ij,ij->i", part, part)
    left = np.add.reduce(centred, axis=1) / float(count)
    left[~np.isfinite(left)] = 0.0
    left = left.astype(np.float64, copy=False)
    return np.maximum(squares / count - left * left, 0.0)
