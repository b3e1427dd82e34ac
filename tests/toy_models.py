"""Models with known posteriors, the exact posterior as guide, and the checks that go with them."""

from __future__ import annotations

import functools
import os
from statistics import NormalDist
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_posterior import sample_posterior

#: Chance that one of the Monte Carlo checks of one call fails although the code is right, had the
#: seed not been fixed.
FALSE_ALARM = 1e-4

sample = functools.partial(
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


def bound(checks: int) -> float:
    """Normal scores beyond which one of so many checks is an alarm."""
    return NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * checks))


def assert_within(found: Any, target: Any, error: Any, what: str) -> None:
    """Every number within Monte Carlo error (``error`` is one standard error) of its target."""
    found, target, error = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (found, target, error))
    )
    gap = np.abs(found - target)
    allowed = bound(max(gap.size, 1)) * error + 1e-5 * np.abs(target) + 1e-6
    worst = np.argmax(gap - allowed)
    assert (gap <= allowed).all(), (
        f"{what}: {found.flat[worst]} for {target.flat[worst]} "
        f"(allowed {allowed.flat[worst]}) at {worst}"
    )


def assert_normal(posterior: Any, exact: dict[str, tuple[Any, Any]]) -> None:
    """Means, standard deviations and quantiles of normal sites, from the summaries alone."""
    num, half_width = posterior.plan.num_samples, NormalDist().inv_cdf(0.95)
    density = NormalDist().pdf(half_width)
    for name, (mean, sd) in exact.items():
        assert_within(posterior["post_sample_means"][name], mean, sd / num**0.5, f"mean of {name}")
        assert_within(
            posterior["post_sample_stds"][name], sd, sd / (2 * num) ** 0.5, f"sd of {name}"
        )
        error = sd * (0.05 * 0.95 / num) ** 0.5 / density
        for key, sign in (("post_sample_q05", -1), ("post_sample_q95", 1)):
            assert_within(
                posterior[key][name], mean + sign * half_width * sd, error, f"{key} {name}"
            )


def assert_same(one: Any, other: Any) -> None:
    """Bit-equal results."""
    assert list(one) == list(other)
    for key in one:
        assert list(one[key]) == list(other[key])
        for name in one[key]:
            np.testing.assert_array_equal(one[key][name], other[key][name], err_msg=f"{key} {name}")
