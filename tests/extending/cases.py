"""Small models whose posteriors, predictions and densities are known."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch

NUM_OBS = 21
Y = 1.5 + 0.7 * torch.randn(NUM_OBS, generator=torch.Generator().manual_seed(3))
LABELS = np.array(list("abc") * 7)


def model(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("w", dist.LogNormal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("obs", NUM_OBS, subsample_size=len(y)):
        z = pyro.sample("z", dist.Normal(mu, 0.5))
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


def guide(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal(1.2, 0.2))
    pyro.sample("w", dist.LogNormal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("obs", NUM_OBS, subsample_size=len(y)):
        pyro.sample("z", dist.Normal(0.5 * y + 0.5, 0.4))


def conjugate(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
    """A line through the origin with a known noise of 0.5."""
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    with pyro.plate("obs", 40, subsample=torch.arange(len(x))):
        mean = pyro.deterministic("mean", slope * x)
        pyro.sample("y", dist.Normal(mean, 0.5), obs=y)


def conjugate_data(seed: int, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, generator=generator) * 4 - 2
    return x, 1.3 * x + 0.5 * torch.randn(count, generator=generator)


def posterior_of(x: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """Mean and sd of the slope."""
    precision = 1 / 4 + float((x * x).sum()) / 0.25
    return float((x * y).sum()) / 0.25 / precision, precision**-0.5


def exact_guide(mean: float, sd: float):
    """The posterior itself as a guide."""

    def exact(x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        pyro.sample("slope", dist.Normal(mean, sd))

    return exact
