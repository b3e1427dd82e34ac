"""The statistics with a fast path, and how a caller's function is recognised as one of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.quantile import Quantile, valid_probability

Kind = Literal[
    "mean",
    "std",
    "var",
    "sum",
    "min",
    "max",
    "median",
    "quantile",
    "eti",
    "hdi",
    "mode",
    "share above",
    "share below",
    "share at",
]

_KINDS: tuple[tuple[Callable[..., Any], Kind], ...] = (
    (np.mean, "mean"),
    (np.std, "std"),
    (np.var, "var"),
    (np.sum, "sum"),
    (np.min, "min"),
    (np.amin, "min"),
    (np.max, "max"),
    (np.amax, "max"),
    (np.median, "median"),
)


@dataclass(frozen=True)
class Statistic:
    """One number per column of draws, or two: the ends of an interval."""

    kind: Kind
    q: float | None = None  # of a quantile, in [0, 1]; of an interval, its probability; a threshold

    @property
    def values(self) -> int:
        """How many numbers a column gets: 2 for the ends of an interval, else 1."""
        return 2 if self.kind in ("eti", "hdi") else 1

    @property
    def needs_sort(self) -> bool:
        """Whether it is read off the ordered draws."""
        return self.kind in ("median", "quantile", "eti", "hdi", "mode")

    @property
    def needs_all_sorted(self) -> bool:
        """Whether a few order statistics do not suffice."""
        return self.kind in ("hdi", "mode")

    @property
    def needs_squares(self) -> bool:
        """Whether it needs the squared deviations from the mean."""
        return self.kind in ("std", "var")

    @property
    def needs_floats(self) -> bool:
        """Whether whole numbers must be made floating for it."""
        return self.kind == "mean" or self.needs_squares

    @property
    def counts(self) -> bool:
        """Whether it is a share of the draws."""
        return self.kind.startswith("share")

    def result_dtype(self, draws: np.dtype) -> np.dtype:
        """What NumPy returns for draws of this dtype; quantiles of booleans are float64."""
        if self.kind in ("min", "max", "mode", "hdi") or draws.kind == "f":
            return draws
        if self.kind == "sum":
            return np.add.reduce(np.empty(0, draws)).dtype
        return np.dtype(np.float64)

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of the quantiles that it is; none where it is something else."""
        if self.kind == "median":
            return (0.5,)
        if self.kind == "quantile":
            assert self.q is not None
            return (self.q,)
        if self.kind == "eti":
            assert self.q is not None
            tail = (1.0 - self.q) / 2
            return (tail, 1.0 - tail)
        return ()

    def ranks(self, count: int) -> tuple[int, ...]:
        """Ranks it is read off, from 0, among ``count`` draws; none where it needs no order."""
        if self.kind == "median":
            return (count // 2,) if count % 2 else (count // 2 - 1, count // 2)
        return tuple(rank for below, above, _ in self.positions(count) for rank in (below, above))

    def positions(self, count: int) -> tuple[tuple[int, int, float], ...]:
        """Index below, index above and weight of its quantiles among ``count`` ordered draws."""
        return tuple(_position(q, count) for q in self.probabilities)


def _position(q: float, count: int) -> tuple[int, int, float]:
    virtual = (count - 1) * q
    below = min(math.floor(virtual), count - 1)
    return below, min(below + 1, count - 1), virtual - below


def recognise(name: str, fun: Callable[..., Any]) -> Statistic | None:
    """The statistic ``fun`` computes, None where it is the caller's own function.

    Raises
    ------
    RequestError
        ``fun`` is NumPy's quantile or percentile with a probability out of range.
    """
    if isinstance(fun, Statistic):
        return fun
    for known, kind in _KINDS:
        if fun is known:
            return Statistic(kind)
    if type(fun) is Quantile:
        return Statistic("quantile", fun.q)
    if isinstance(fun, functools.partial) and not fun.args and set(fun.keywords) == {"q"}:
        q = fun.keywords["q"]
        # NumPy gives integers for an integer q of np.quantile: that stays with NumPy.
        if fun.func is np.quantile and isinstance(q, (float, np.floating)):
            return Statistic("quantile", valid_probability(q, f"q of summary {name!r}"))
        if fun.func is np.percentile and isinstance(q, (int, float, np.integer, np.floating)):
            if not 0 <= q <= 100:
                raise RequestError(
                    f"q of summary {name!r} must be a percentage between 0 and 100, but got {q!r}."
                )
            return Statistic("quantile", float(q) / 100)
    return None
