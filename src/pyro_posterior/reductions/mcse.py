"""Monte Carlo errors: how far a summary of the draws may be from that of the posterior.

Two ways. From replicates: the draws are divided into independent parts, and how a summary changes when
one is left out tells its error, for stratified draws as for independent ones. From
formulas: of independent draws; for stratified ones an upper bound (Owen, Annals of Statistics 25,
1997), which may be far above the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Ending of the name of a result that holds errors of another.
SUFFIX = "_mcse"

#: Independent parts that draws are divided into.
REPLICATES = 8


def error_from_replicates(without: Sequence[np.ndarray]) -> np.ndarray:
    """Standard error of a summary by the jackknife over independent parts of the draws.

    Parameters
    ----------
    without
        The summary of all draws but those of one part, for each part. (The spread of summaries of
        the parts themselves is too small for quantiles: a part is a hypercube of few draws, whose
        quantiles lie at fixed places of its strata.)

    Returns
    -------
    numpy.ndarray
        Shaped as the summary, in its type where that is floating, else in float64. With 8 parts
        its own relative error is about a quarter. NaN where a value is not finite.
    """
    values = np.stack([np.asarray(part) for part in without])
    dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(np.float64)
    values = values.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return (values.std(0, ddof=0) * (len(values) - 1) ** 0.5).astype(dtype)


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
    """Error of a quantile of independent draws, by their order: half the width of the interval that
    holds the posterior's quantile with the probability of one standard error either side.

    Parameters
    ----------
    draws
        ``(draw, *shape)``.
    q
        Between 0 and 1.
    """
    spread = (q * (1 - q) / len(draws)) ** 0.5
    ends = np.clip([q - spread, q + spread], 0.0, 1.0)
    low, high = np.quantile(np.asarray(draws, np.float64), ends, axis=0)
    return (high - low) / 2
