"""Whether draws of a guide can stand for the posterior: Pareto k of their importance weights.

Yao, Vehtari, Simpson and Gelman, "Yes, but did it work?", ICML 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyro_posterior.reductions.loo import good_k


@dataclass(frozen=True)
class Khat:
    """Pareto k of the guide's draws.

    Attributes
    ----------
    khat
        Of the whole joint draw.
    pointwise
        By observation, of its own latent variables and data alone; None without local sites.
    num_samples
        Number of draws.
    """

    khat: float
    pointwise: np.ndarray | None
    num_samples: int

    @property
    def verdict(self) -> str:
        """What the numbers say, in plain words."""
        good = good_k(self.num_samples)
        if not np.isfinite(self.khat):
            joint = f"k-hat could not be fitted from {self.num_samples} draws"
        elif self.khat <= min(0.5, good):
            joint = f"k-hat {self.khat:.2f}: the guide is close to the posterior as a whole"
        elif self.khat <= good:
            joint = (
                f"k-hat {self.khat:.2f}: the guide is usable as a whole, better with its draws "
                "weighted"
            )
        else:
            joint = (
                f"k-hat {self.khat:.2f}, above {good:.2f}: draws of the guide as a whole cannot be "
                "made draws of the posterior by weighting"
            )
        if self.pointwise is None:
            return joint
        known = self.pointwise[~np.isnan(self.pointwise)]
        bad = int((known > good).sum())
        of_each = (
            f"by observation k-hat is at most {good:.2f} for {len(known) - bad} of {len(known)}"
        )
        if self.khat > good and bad * 20 <= len(known):
            of_each += (
                ": with many local variables the joint one grows although each of them may be well "
                "approximated"
            )
        return f"{joint}; {of_each}"

    def __repr__(self) -> str:
        return f"Khat({self.verdict})"
