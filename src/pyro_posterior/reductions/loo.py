"""Leave-one-out cross-validation by Pareto smoothed importance sampling, some observations at a time.

Vehtari, Gelman and Gabry, Statistics and Computing 27 (2017); for draws of an approximation, whose
weights correct for it as well, Magnusson, Andersen, Jonasson and Vehtari, ICML 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pyro_posterior.reductions.psis import Smoothed, log_sum, smooth


@dataclass(frozen=True)
class PointwiseLoo:
    """What each observation adds, arrays ``(obs,)``."""

    elpd: np.ndarray  # log density of the observation given all the others
    p_loo: np.ndarray  # how much higher it is given itself, too
    k: np.ndarray  # shape of the weights' tail


@dataclass(frozen=True)
class Loo:
    """PSIS-LOO of a whole data set.

    Attributes
    ----------
    elpd, se
        Expected log pointwise predictive density for new data, and its standard error.
    p_loo
        Effective number of parameters.
    good_k
        Up to this k an observation's elpd can be relied on, for so many draws.
    pointwise
        The same by observation.
    corrected
        Whether the weights also correct for the guide.
    """

    elpd: float
    se: float
    p_loo: float
    num_samples: int
    good_k: float
    pointwise: PointwiseLoo
    corrected: bool

    @property
    def k(self) -> np.ndarray:
        """Pareto k of each observation."""
        return self.pointwise.k

    @property
    def num_bad(self) -> int:
        """Observations whose k is above ``good_k`` or no number."""
        return int((~(self.k <= self.good_k)).sum())

    def __repr__(self) -> str:
        count = len(self.k)
        lines = [
            f"PSIS-LOO of {count} observations from {self.num_samples} draws"
            + (", weighted for the guide" if self.corrected else ""),
            f"  elpd {self.elpd:.2f} (standard error {self.se:.2f}), p_loo {self.p_loo:.2f}",
            f"  Pareto k above {self.good_k:.2f} for {self.num_bad} observations"
            + ("" if self.num_bad else ": their elpd can be relied on"),
        ]
        return "\n".join(lines)


def leave_out(
    log_likelihood: np.ndarray, correction: np.ndarray | None = None
) -> tuple[PointwiseLoo, Smoothed]:
    """Each observation's share of LOO, and the weights that leave it out.

    Parameters
    ----------
    log_likelihood
        ``(draw, obs)``.
    correction
        ``(draw,)``, log density of the posterior over that of the guide; None: draws of the
        posterior itself.
    """
    by_obs = np.asarray(log_likelihood, np.float64).T
    ratios = -by_obs if correction is None else np.asarray(correction, np.float64) - by_obs
    smoothed = smooth(ratios)
    elpd = log_sum(smoothed.log_weights + by_obs)
    density = log_sum(by_obs) - math.log(by_obs.shape[1])
    return PointwiseLoo(elpd, density - elpd, smoothed.k), smoothed


def total(parts: Iterable[PointwiseLoo], num_samples: int, *, corrected: bool) -> Loo:
    """LOO of all observations, given in order."""
    held = list(parts)
    each = PointwiseLoo(
        *(np.concatenate([getattr(part, name) for part in held]) for name in ("elpd", "p_loo", "k"))
    )
    return Loo(
        elpd=float(each.elpd.sum()),
        se=float(math.sqrt(len(each.elpd) * each.elpd.var())),
        p_loo=float(each.p_loo.sum()),
        num_samples=num_samples,
        good_k=good_k(num_samples),
        pointwise=each,
        corrected=corrected,
    )


def good_k(num_samples: int) -> float:
    """The k up to which so many draws suffice: ``min(1 - 1 / log10(S), 0.7)``."""
    return min(1 - 1 / math.log10(num_samples), 0.7) if num_samples > 1 else -math.inf


def probability_integral_transform(
    observed: np.ndarray, predicted: np.ndarray, log_weights: np.ndarray
) -> np.ndarray:
    """LOO-PIT: the leave-one-out probability that a prediction is no larger than what was observed.

    Parameters
    ----------
    observed
        ``(obs,)``.
    predicted
        ``(draw, obs)``.
    log_weights
        ``(obs, draw)`` of `leave_out`.

    Returns
    -------
    ``(obs,)``, uniform where the model fits; NaN where a value is missing.
    """
    observed = np.asarray(observed)
    below = observed[:, None] >= predicted.T
    gaps = np.isnan(observed) | np.isnan(predicted).any(axis=0)
    found = np.minimum(1.0, (np.exp(log_weights) * below).sum(axis=1))
    return np.where(gaps, np.nan, found)
