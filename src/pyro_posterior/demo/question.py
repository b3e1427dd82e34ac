"""Two questions to the demo's posterior: which shares differ between groups, are the zeros predicted?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_posterior.demo.counts import Reference
from pyro_posterior.posterior import Posterior
from pyro_posterior.reductions.contrast import Contrast

#: ``grouped=`` of the demo: the mean share of every type in dividing and in resting cells.
SHARES = "share_by_phase"
DIVIDING, RESTING = "dividing", "resting"

#: Probability from which a difference is called one.
THRESHOLD = 0.95

#: Predicted data sets.
PREDICTIONS = 100


@dataclass(frozen=True)
class Zeros:
    """The share of counts that are zero, in the data and in predicted data."""

    observed: float
    predicted: np.ndarray  # (draw,)

    @property
    def p_value(self) -> float:
        """How probable a share as large as that of the data is."""
        return float((self.predicted >= self.observed).mean())

    def __str__(self) -> str:
        low, high = np.quantile(self.predicted, [0.05, 0.95])
        fits = "as predicted" if 0.05 <= self.p_value <= 0.95 else "not as predicted"
        return (
            f"{self.observed:.2%} of the counts are 0, {fits}: {self.predicted.mean():.2%} "
            f"({low:.2%} to {high:.2%}), p-value {self.p_value:.2f}"
        )


def grouped(reference: Reference) -> dict[str, Any]:
    """What the draws are asked to add up."""
    groups = np.where(reference.phases == "G1", RESTING, DIVIDING)
    return {SHARES: ("share", groups, "mean")}


def zeros_asked(reference: Reference) -> dict[str, Any]:
    """What a second call is asked, for `zeros_of`: predictions are reduced, none is kept."""
    return {
        "predictive": True,
        "num_samples": PREDICTIONS,
        "return_sites": ["zeros"],
        "exclude_sites": ["counts"],
        "summary_fun": ["mean"],
        "derived": {"zeros": lambda site: (site["counts"] == 0).float().mean(-1)},
        "grouped": {"zeros_of_all": ("zeros", ["all"] * len(reference.names), "mean")},
    }


def zeros_of(predicted: Posterior, reference: Reference) -> Zeros:
    """The zeros of a call with `zeros_asked`."""
    drawn = np.asarray(predicted["posterior_samples"]["zeros_of_all"])[:, 0]
    return Zeros(float((reference.counts == 0).mean()), drawn)


def difference(posterior: Posterior, reference: Reference) -> str:
    """The type whose share differs most surely between the two groups of cells, in words."""
    between = posterior.contrast(SHARES, DIVIDING, RESTING)
    sure = np.maximum(between.above_zero, 1 - between.above_zero)
    distance = np.abs(between.mean) / np.maximum(between.sd, 1e-12)
    called = int((sure >= THRESHOLD).sum())
    return (
        f"{_told(between, int(np.argmax(distance)), reference)}; {called} of "
        f"{len(reference.types)} types differ with a probability of {THRESHOLD:.0%} or more"
    )


def _told(between: Contrast, kind: int, reference: Reference) -> str:
    above = float(between.above_zero[kind])
    word, sure = ("larger", above) if above >= 0.5 else ("smaller", 1 - above)
    dividing = int((reference.phases != "G1").sum())
    return (
        f"the share of {reference.types[kind]} is {word} in the {dividing} dividing cells than in "
        f"the {len(reference.phases) - dividing} resting ones with probability {sure:.3f}, by "
        f"{between.mean[kind]:+.3f} ({between.lower[kind]:+.3f} to {between.upper[kind]:+.3f})"
    )
