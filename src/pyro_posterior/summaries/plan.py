"""Which summaries to compute, and computing them."""

from __future__ import annotations

from dataclasses import dataclass
import numpy as np


@dataclass
class Summarised:
    values: dict
    nonfinite: int


@dataclass
class SummaryPlan:
    funs: dict

    @property
    def names(self):
        return tuple(k if k.startswith("post_sample_") else "post_sample_" + k for k in self.funs)

    def compute(self, draws, *, workers=1):
        x = draws.cpu().numpy()
        return Summarised(
            {n: np.asarray(f(x, axis=0)) for n, f in zip(self.names, self.funs.values())},
            int((~np.isfinite(x)).sum()),
        )


def plan_summaries(f):
    return SummaryPlan(
        dict(f)
        if f
        else {
            "means": np.mean,
            "stds": np.std,
            "q05": lambda x, axis: np.quantile(x, 0.05, axis=axis),
            "q95": lambda x, axis: np.quantile(x, 0.95, axis=axis),
        }
    )
