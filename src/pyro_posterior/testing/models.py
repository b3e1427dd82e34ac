"""Models with known posteriors, and the exact posterior as guide.

::

    toy = ConjugateNormal()
    posterior = draw(toy.model, toy.guide, toy.data, batch_size=5, num_samples=1000)
    assert_normal(posterior, toy.exact())
"""

from __future__ import annotations

import functools
import os

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_posterior.sampling import sample_posterior

#: `sample_posterior` as tests call it: the loop, one seed, no bar, and the device that
#: ``PYRO_POSTERIOR_TEST_DEVICE`` names, so that a whole suite can be moved elsewhere.
draw = functools.partial(
    sample_posterior,
    show_progress=False,
    seed=1,
    engine="loop",
    device=os.environ.get("PYRO_POSTERIOR_TEST_DEVICE", "cpu"),
)


class ConjugateNormal:
    """``mu ~ N(0, 1)``, ``z[n] ~ N(mu, 1)``, ``y[n] ~ N(z[n], 1)``; the guide is the posterior.

    Called with ``(y, index)``, or with ``y`` alone for all rows.
    """

    def __init__(self, num_obs: int = 22) -> None:
        self.y = torch.linspace(-1.0, 3.0, num_obs)
        self.num_obs = num_obs
        self.mu_var = 1.0 / (1.0 + num_obs / 2.0)
        self.mu_mean = self.mu_var * float(self.y.sum()) / 2.0

    @property
    def data(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.y, torch.arange(self.num_obs)

    def model(self, y: torch.Tensor, index: torch.Tensor | None = None) -> None:
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        pyro.deterministic("twice_mu", 2 * mu)
        with pyro.plate("obs", self.num_obs, subsample=index):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.deterministic("mu_times_y", mu * y)
            pyro.deterministic("sum", z + mu)
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(self, y: torch.Tensor, index: torch.Tensor | None = None) -> None:
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(self.mu_mean), self.mu_var**0.5))
        with pyro.plate("obs", self.num_obs, subsample=index):
            pyro.sample("z", dist.Normal((mu + y) / 2, 0.5**0.5))

    def exact(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Posterior mean and standard deviation of every latent and deterministic site."""
        y, m, v = self.y.double().numpy(), self.mu_mean, self.mu_var
        ones = np.ones_like(y)
        return {
            "mu": (np.array(m), np.array(v**0.5)),
            "twice_mu": (np.array(2 * m), np.array(2 * v**0.5)),
            "z": ((m + y) / 2, ones * (0.5 + v / 4) ** 0.5),
            "mu_times_y": (m * y, np.abs(y) * v**0.5),
            "sum": ((3 * m + y) / 2, ones * (0.5 + 9 * v / 4) ** 0.5),
        }


class BetaBinomial:
    """``p[n] ~ Beta(2, 3)``, ``k[n] ~ Binomial(20, p[n])``; the guide is the posterior."""

    def __init__(self, num_obs: int = 10) -> None:
        self.k = torch.arange(num_obs).float() * 2
        self.num_obs = num_obs

    def model(self, k: torch.Tensor) -> None:
        with pyro.plate("obs", len(k)):
            p = pyro.sample("p", dist.Beta(k.new_tensor(2.0), 3.0))
            pyro.sample("k", dist.Binomial(20, p), obs=k)

    def guide(self, k: torch.Tensor) -> None:
        with pyro.plate("obs", len(k)):
            pyro.sample("p", dist.Beta(2.0 + k, 3.0 + 20 - k))
