"""Monte Carlo errors: how far a summary of the draws may be from that of the posterior.

Two ways. From `replicates`, for stratified draws: the draws are divided into independent parts. From the
formulas below, for independent draws; for stratified ones they are an upper bound (Owen, Annals of
Statistics 25, 1997), which may be far above the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyro_posterior.reductions.replicates import STEP, function_error, statistic_error, window
from pyro_posterior.reductions.statistic import Statistic

#: Ending of the name of a result that holds errors of another.
SUFFIX = "_mcse"

#: Independent parts that draws are divided into.
REPLICATES = 8

#: Draws in each of them where there are as many as an error asks for.
LENGTH = 250

#: Values that are turned at a time.
_BLOCK = 1 << 19


@dataclass(frozen=True)
class Errors:
    """How the errors of a run's summaries are told."""

    lengths: tuple[int, ...]  # of the independent parts of the draws
    stratified: bool

    def of_statistics(
        self, draws: torch.Tensor, statistics: Sequence[Statistic], values: Sequence[np.ndarray]
    ) -> list[np.ndarray | None]:
        """Errors of statistics of real draws ``(draw, *shape)``; None where `of_function` must tell."""
        count, shape = draws.shape[0], tuple(draws.shape[1:])
        if count > 1 and draws.stride(0) == 0:  # fixed values
            return [np.zeros(value.shape, _floating(value)) for value in values]
        flat = draws.reshape(count, -1)
        found = [
            np.zeros((*value.shape[: value.ndim - len(shape)], flat.shape[1])) for value in values
        ]
        known = [True] * len(statistics)
        step = max(1, _BLOCK // count)
        with np.errstate(all="ignore"):
            for low in range(0, flat.shape[1], step):
                columns = flat[:, low : low + step].T.cpu()
                wide = columns.dtype in (torch.float32, torch.float64)
                rows = columns.to(columns.dtype if wide else torch.float64).contiguous().numpy()
                for i, (statistic, value) in enumerate(zip(statistics, values, strict=True)):
                    mine = value.reshape(found[i].shape)[..., low : low + step]
                    error = self._error(statistic, rows, mine)
                    known[i] = error is not None
                    if error is not None:
                        found[i][..., low : low + step] = np.where(np.isfinite(mine), error, np.nan)
        return [
            error.reshape(value.shape).astype(_floating(value)) if there else None
            for error, value, there in zip(found, values, known, strict=True)
        ]

    def _error(
        self, statistic: Statistic, rows: np.ndarray, value: np.ndarray
    ) -> np.ndarray | None:
        if self.stratified:
            return statistic_error(statistic, rows, value, self.lengths)
        return independent_error(statistic, rows.T, value)

    def of_function(
        self, function: Callable[[np.ndarray], Any], draws: np.ndarray, value: np.ndarray
    ) -> np.ndarray:
        """Error of a function's result ``value`` of draws ``(draw, *shape)``; see `function_error`."""
        if len(draws) > 1 and draws.strides[0] == 0:
            return np.zeros(value.shape, _floating(value))
        with np.errstate(all="ignore"):
            error = function_error(function, draws, self.lengths)
            return np.where(np.isfinite(value), error, np.nan).astype(_floating(value))


def _floating(value: np.ndarray) -> np.dtype[Any]:
    return value.dtype if value.dtype.kind == "f" else np.dtype(np.float64)


def independent_error(
    statistic: Statistic, draws: np.ndarray, value: np.ndarray
) -> np.ndarray | None:
    """Error of a statistic ``value`` of independent ``draws``; None where there is no formula."""
    count = len(draws)
    if statistic.kind in ("mean", "sum"):
        error = mean_error(draws.std(0, dtype=np.float64), count)
        return error * count if statistic.kind == "sum" else error
    if statistic.kind == "std":
        return sd_error(draws)
    if statistic.kind == "var":
        return 2 * draws.std(0, dtype=np.float64) * sd_error(draws)
    if statistic.counts:
        return np.hypot(mean_error(np.sqrt(value * (1.0 - value)), count), STEP / count)
    errors = [quantile_error(draws, q) for q in statistic.probabilities]
    return np.reshape(errors, value.shape) if errors else None


def mean_error(sd: np.ndarray, num_samples: int) -> np.ndarray:
    """Error of the mean of independent draws with this standard deviation."""
    return np.asarray(sd) / num_samples**0.5


def sd_error(draws: np.ndarray) -> np.ndarray:
    """Error of the standard deviation of independent draws, by the fourth moment.

    Parameters
    ----------
    draws
        ``(draw, *shape)``.
    """
    draws = np.asarray(draws, np.float64)
    centred = draws - draws.mean(0)
    variance = (centred**2).mean(0)
    fourth = (centred**4).mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.sqrt(np.maximum(fourth - variance**2, 0) / (4 * variance * len(draws)))
    return np.where(variance == 0, 0.0, found)


def quantile_error(draws: np.ndarray, q: float) -> np.ndarray:
    """Error of a quantile of independent draws: the error of a share times the slope of their order.

    Parameters
    ----------
    draws
        ``(draw, *shape)``.
    q
        Between 0 and 1.
    """
    count = len(draws)
    ends = np.clip([q - window(q, count), q + window(q, count)], 0.0, 1.0)
    low, high = np.quantile(np.asarray(draws, np.float64), ends, axis=0)
    share = np.hypot((q * (1 - q) / count) ** 0.5, STEP / count)
    return np.asarray(share * (high - low) / (ends[1] - ends[0]))
