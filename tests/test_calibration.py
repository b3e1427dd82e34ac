"""Simulation-based calibration of the whole chain: the truth's rank among the draws is uniform.

Talts and others, 2018. Each observation has a latent variable of its own, drawn from the prior with its
data; the guide is the exact posterior. Checked by chi-squared at the declared false-alarm rate.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import sample_posterior
from pyro_posterior.testing.checks import FALSE_ALARM

COUNT, DRAWS, BINS = 4000, 100, 20


def normal(rng):
    truth = rng.normal(size=COUNT)
    y = torch.tensor(truth + rng.normal(size=COUNT)).float()
    return truth, y, lambda y: dist.Normal(y / 2, 0.5**0.5)


def beta(rng):
    truth = rng.beta(2, 3, size=COUNT)
    y = torch.tensor(rng.binomial(20, truth)).float()
    return truth, y, lambda y: dist.Beta(2 + y, 3 + 20 - y)


def gamma(rng):
    truth = rng.gamma(0.7, size=COUNT)
    y = torch.tensor(rng.poisson(3 * truth)).float()
    return truth, y, lambda y: dist.Gamma(0.7 + y, 4.0)


@pytest.mark.parametrize("draws", ["stratified", "independent"])
@pytest.mark.parametrize("conjugate", [normal, beta, gamma])
def test_ranks_are_uniform(conjugate, draws):
    truth, data, exact = conjugate(np.random.default_rng(7))

    def model(y):
        with pyro.plate("obs", len(y)):
            pyro.sample("theta", exact(y))

    posterior = sample_posterior(
        model,
        model,
        data,
        num_samples=DRAWS,
        return_samples=True,
        seed=5,
        draws=draws,
        show_progress=False,
        obs_plate="obs",
    )
    ranks = (posterior["posterior_samples"]["theta"] < truth).sum(0)
    ties = np.random.default_rng(1).uniform(size=COUNT)
    places = np.floor((ranks + ties) * BINS / (DRAWS + 1)).astype(int)
    counts = np.bincount(places, minlength=BINS)
    statistic = ((counts - COUNT / BINS) ** 2 / (COUNT / BINS)).sum()
    freedom = BINS - 1  # Wilson and Hilferty's normal approximation
    score = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / (
        2 / (9 * freedom)
    ) ** 0.5
    assert score < NormalDist().inv_cdf(1 - FALSE_ALARM)
