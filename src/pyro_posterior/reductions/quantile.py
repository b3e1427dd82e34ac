"""`Quantile`: one quantile over the draws, ready to be named in ``summary_fun``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pyro_posterior.errors import RequestError


@dataclass(frozen=True)
class Quantile:
    """The quantile ``q`` of the draws, linear between order statistics.

    ``summary_fun={"q10": Quantile(0.1)}`` costs no more than the default quantiles: all quantiles
    of a call share one sort.

    Parameters
    ----------
    q
        A number in [0, 1].

    Raises
    ------
    RequestError
        ``q`` is not a number in [0, 1].
    """

    q: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "q", valid_probability(self.q, "Quantile(q)"))

    def __call__(self, x: np.ndarray, axis: int = 0) -> np.ndarray:
        """What ``np.quantile(x, q, axis)`` gives; booleans, which it refuses, count as 0 and 1."""
        x = np.asarray(x)
        x = x.astype(np.float64) if x.dtype == bool else x
        return np.asarray(np.quantile(x, self.q, axis=axis))


def valid_probability(q: object, argument: str) -> float:
    """``q`` as a float in [0, 1].

    Raises
    ------
    RequestError
        It is something else.
    """
    number = not isinstance(q, bool) and isinstance(q, (int, float, np.integer, np.floating))
    if not number or not 0.0 <= float(q) <= 1.0 or math.isnan(float(q)):  # type: ignore[arg-type]
        raise RequestError(f"{argument} must be a number between 0 and 1, but got {q!r}.")
    return float(q)  # type: ignore[arg-type]
