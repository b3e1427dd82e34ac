"""Two groups compared, draw by draw: difference, interval, probabilities, expected false discovery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contrast:
    """The difference of two quantities, by entry.

    Attributes
    ----------
    draws
        ``(draw, *entry)``, the difference in each joint draw.
    delta
        A difference that matters.
    interval
        Probability of the interval ``lower`` to ``upper`` (equal tails).
    """

    draws: np.ndarray
    delta: float
    interval: float

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.draws.mean(axis=0))

    @property
    def sd(self) -> np.ndarray:
        return np.asarray(self.draws.std(axis=0))

    @property
    def lower(self) -> np.ndarray:
        return np.asarray(np.quantile(self.draws, (1 - self.interval) / 2, axis=0))

    @property
    def upper(self) -> np.ndarray:
        return np.asarray(np.quantile(self.draws, (1 + self.interval) / 2, axis=0))

    @property
    def above_zero(self) -> np.ndarray:
        """Probability that the first is larger."""
        return self._share(self.draws > 0)

    @property
    def beyond_delta(self) -> np.ndarray:
        """Probability that they differ by more than ``delta``, either way."""
        return self._share(np.abs(self.draws) > self.delta)

    def _share(self, hits: np.ndarray) -> np.ndarray:
        """Share of the draws; NaN where some are no numbers."""
        return np.where(np.isnan(self.draws).any(axis=0), np.nan, hits.mean(axis=0))

    def called(self, threshold: float) -> np.ndarray:
        """Entries that differ by more than ``delta`` with at least this probability."""
        return np.asarray(self.beyond_delta >= threshold)

    def false_discovery(self, threshold: float) -> float:
        """Expected share of false ones among the entries called at this threshold; 0 if none is."""
        called = self.called(threshold)
        return float((1 - self.beyond_delta[called]).mean()) if called.any() else 0.0

    def __repr__(self) -> str:
        shape = self.draws.shape[1:]
        if shape:
            return f"Contrast of {shape} entries from {len(self.draws)} draws"
        return (
            f"Contrast({float(self.mean):.4g}, {self.interval:.0%} interval {float(self.lower):.4g} "
            f"to {float(self.upper):.4g}, above 0 with probability {float(self.above_zero):.3f})"
        )
