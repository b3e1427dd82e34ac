"""The hierarchical Poisson-gamma factor model and its guide in Pyro; NumPyro's twin is beside it.

Written with all plates at negative dims, so that `pyro.infer.Predictive(parallel=True)` can run it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch

#: One draw of one minibatch of 2,000 observations and 20 factors is 82,000 values of these sites.
SITES = ("depth", "activity", "molecules")


@dataclass(frozen=True)
class FactorModel:
    """Model, guide and full data ``(counts, index)``."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    data: tuple[torch.Tensor, torch.Tensor]


def make_factor_model(observations: int, genes: int, factors: int) -> FactorModel:
    """Model and guide with random variational parameters."""
    generator = torch.Generator().manual_seed(0)

    def start(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    starts = {
        "rate": start(factors, 1),
        "loadings": start(factors, genes) - 1.0,
        "depth": start(observations, 1),
        "activity": start(observations, factors) - 1.0,
    }

    def model(counts: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("factors", factors, dim=-2):
            rate = pyro.sample("rate", dist.Gamma(2.0, 2.0))
            with pyro.plate("genes", genes, dim=-1):
                loadings = pyro.sample("loadings", dist.Gamma(0.5, rate))
        with pyro.plate("observations", observations, subsample=index, dim=-2):
            depth = pyro.sample("depth", dist.Gamma(10.0, 10.0))
            with pyro.plate("factors of observations", factors, dim=-1):
                activity = pyro.sample("activity", dist.Gamma(0.5, 0.5))
            total = loadings.sum(-1, keepdim=True).transpose(-1, -2)
            pyro.deterministic("molecules", activity * total)
            with pyro.plate("genes of observations", genes, dim=-1):
                pyro.sample("counts", dist.Poisson(depth * (activity @ loadings)), obs=counts)

    def lognormal(name: str, index: torch.Tensor | None = None) -> dist.LogNormal:
        loc = pyro.param(f"{name}_loc", starts[name])
        log_scale = pyro.param(f"{name}_log_scale", torch.full_like(starts[name], -2.0))
        if index is not None:
            loc, log_scale = loc[index], log_scale[index]
        return dist.LogNormal(loc, log_scale.exp())

    def guide(counts: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("factors", factors, dim=-2):
            pyro.sample("rate", lognormal("rate"))
            with pyro.plate("genes", genes, dim=-1):
                pyro.sample("loadings", lognormal("loadings"))
        with pyro.plate("observations", observations, subsample=index, dim=-2):
            pyro.sample("depth", lognormal("depth", index))
            with pyro.plate("factors of observations", factors, dim=-1):
                pyro.sample("activity", lognormal("activity", index))

    counts = torch.poisson(torch.full((observations, genes), 2.0), generator=generator)
    data = (counts, torch.arange(observations))
    with torch.no_grad():
        guide(*data)
    return FactorModel(model, guide, data)
