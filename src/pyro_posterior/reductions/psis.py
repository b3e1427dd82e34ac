"""Pareto smoothed importance sampling, of many rows of log ratios at once.

The largest ratios of a row are replaced by quantiles of a generalised Pareto distribution fitted to
them, whose shape k says whether the weighted draws can be relied on: Vehtari, Simpson, Gelman, Yao
and Gabry, Journal of Machine Learning Research 25(72), 2024. The fit is the empirical Bayes one of
Zhang and Stephens, Technometrics 51 (2009), with their paper's weak prior on k. Tails are as long as
in ArviZ 0.x and R's loo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Rows that are smoothed together: their fits take about 40 times the tail in memory.
ROWS = 256

_SMALLEST_LOG = math.log(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Smoothed:
    """Normalised log weights, and the shape of their tail."""

    log_weights: np.ndarray  # (row, draw), each row's weights add up to 1
    k: np.ndarray  # (row,), infinite where the tail is too short for a fit, NaN without numbers


def tail_length(num_samples: int, relative_efficiency: float = 1.0) -> int:
    """How many of so many ratios are smoothed."""
    return math.ceil(min(num_samples / 5, 3 * math.sqrt(num_samples / relative_efficiency)))


def smooth(log_ratios: np.ndarray, tail: int | None = None) -> Smoothed:
    """Smooth the tail of each row.

    Parameters
    ----------
    log_ratios
        ``(row, draw)``, logarithms of target over proposal, each row up to a constant.
    tail
        How many of the largest ratios are smoothed; by default `tail_length`.
    """
    log_ratios = np.asarray(log_ratios, np.float64)
    rows, count = log_ratios.shape
    tail = tail_length(count) if tail is None else tail
    weights, k = np.empty_like(log_ratios), np.empty(rows)
    for start in range(0, rows, ROWS):
        part = slice(start, start + ROWS)
        weights[part], k[part] = _smooth(log_ratios[part], tail)
    return Smoothed(weights, k)


def _smooth(log_ratios: np.ndarray, tail: int) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        x = log_ratios - log_ratios.max(axis=1, keepdims=True)
        order = np.argsort(x, axis=1, kind="stable")
        k = np.full(len(x), np.inf)
        behind = x.shape[1] - tail - 1
        if behind >= 0:
            cutoff = np.maximum(np.take_along_axis(x, order[:, [behind]], 1), _SMALLEST_LOG)
            lengths = (x > cutoff).sum(axis=1)  # shorter where ratios are equal to the cutoff
            for length in np.unique(lengths[lengths > 4]):
                one = np.flatnonzero(lengths == length)
                places = (one[:, None], order[one, -length:])
                base = np.exp(cutoff[one])
                k[one], sigma = fit_pareto(np.exp(x[places]) - base)
                levels = (np.arange(length) + 0.5) / length
                smoothed = np.log(pareto_quantiles(levels, k[one], sigma) + base)
                fitted = np.isfinite(k[one])[:, None]
                x[places] = np.where(fitted, np.minimum(smoothed, 0.0), x[places])
        k[~np.isfinite(log_ratios).all(axis=1)] = np.nan
        return x - log_sum(x)[:, None], k


def fit_pareto(excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape and scale of a generalised Pareto distribution.

    Parameters
    ----------
    excess
        ``(row, value)``, positive, in rising order.

    Returns
    -------
    Two arrays ``(row,)``.
    """
    count = excess.shape[1]
    grid = 30 + int(count**0.5)
    quarter = excess[:, [int(count / 4 + 0.5) - 1]]
    b = 1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    b = b / (3 * quarter) + 1 / excess[:, [-1]]  # (row, grid)
    k = np.log1p(-b[:, :, None] * excess[:, None]).mean(axis=2)
    profile = count * (np.log(-b / k) - k - 1)
    weights = np.exp(profile - log_sum(profile)[:, None])
    weights[weights < 10 * np.finfo(float).eps] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    best = (b * weights).sum(axis=1, keepdims=True)
    shape = np.log1p(-best * excess).mean(axis=1)
    scale = -shape / best[:, 0]
    return (count * shape + 5.0) / (count + 10), scale


def pareto_quantiles(levels: np.ndarray, k: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Quantiles ``(row, level)`` of generalised Pareto distributions; NaN where a scale is not one."""
    steps = -np.log1p(-levels)
    k = k[:, None]
    flat = np.abs(k) < np.finfo(float).eps
    curve = np.where(flat, steps, np.expm1(k * steps) / np.where(flat, 1.0, k))
    return np.where(sigma[:, None] > 0, curve * sigma[:, None], np.nan)


def log_sum(x: np.ndarray) -> np.ndarray:
    """Logarithm of the sum of exponentials of each row."""
    top = x.max(axis=1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    return (np.log(np.exp(x - top).sum(axis=1, keepdims=True)) + top)[:, 0]
