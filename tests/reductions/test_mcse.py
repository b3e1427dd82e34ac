"""Monte Carlo errors against the spread over many seeds, and against known formulas."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.mcse import (
    error_from_replicates,
    mean_error,
    quantile_error,
    sd_error,
)

SEEDS, COLUMNS = 200, 5


def model(x):
    z = pyro.sample("z", dist.Normal(torch.zeros(COLUMNS), 1.0).to_event(1))
    pyro.deterministic("heavy", z.exp())
    pyro.deterministic("sum", z.sum())


def guide(x):
    pyro.sample("z", dist.Normal(torch.zeros(COLUMNS), 1.0).to_event(1))


def run(seed, **options):
    options = {"num_samples": 203, "mcse": True, "show_progress": False, **options}
    return sample_posterior(model, guide, torch.zeros(3), seed=seed, engine="loop", **options)


@pytest.fixture(scope="module")
def replicated():
    """The rules alone, as a run would draw: 200 seeds of 8 hypercubes."""
    from pyro_posterior.contracts import RunPlan
    from pyro_posterior.keyed.fills import NORMAL, fill
    from pyro_posterior.keyed.keys import Key, Where
    from pyro_posterior.reductions.plan import plan_summaries

    plan = RunPlan((), None, 203, 0, (3,), (), False, "loop", "stratified", 8)
    summaries = plan_summaries(None).with_errors(plan.replicate_lengths)
    found = []
    for seed in range(SEEDS):
        at = Where(seed, range(203), 0, plan.cubes)
        z = fill(NORMAL, Key("z", 0, True), at, (COLUMNS,), torch.float32, torch.device("cpu"))
        found.append(summaries.compute(torch.cat([z, z.exp(), z.sum(1, keepdim=True)], 1)).values)
    return found


@pytest.mark.parametrize("name", ["means", "stds", "q05", "q95"])
def test_errors_from_replicates_are_the_spread_over_seeds(replicated, name):
    values = np.array([found[f"post_sample_{name}"] for found in replicated], float)
    errors = np.array([found[f"post_sample_{name}_mcse"] for found in replicated], float)
    told = (errors**2).mean(0) ** 0.5
    true = values.std(0, ddof=1)
    # the spread of 200 seeds is known to 5 %, so 20 % is four of its errors
    assert (told > 0.8 * true).all()
    assert (told < 1.5 * true).all()


def test_intervals_of_means_hold_the_known_value_as_often_as_they_say(replicated):
    """Student's t with 7 degrees of freedom; 1,000 intervals."""
    values = np.array([found["post_sample_means"][:COLUMNS] for found in replicated], float)
    errors = np.array([found["post_sample_means_mcse"][:COLUMNS] for found in replicated])
    assert (np.abs(values) < 2.365 * errors).mean() > 0.92


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_every_summary_of_every_site_has_its_error(draws):
    funs = {"low": lambda x, axis: x.min(axis=axis), "positive": lambda x, axis: (x > 0).sum(axis)}
    posterior = run(1, draws=draws, summary_fun=["means", "median", funs])
    for name in ("means", "median", "low", "positive"):
        for site in ("z", "heavy", "sum"):
            error = posterior[f"post_sample_{name}_mcse"][site]
            assert error.shape == posterior[f"post_sample_{name}"][site].shape
            assert (error >= 0).all()
        assert posterior[f"post_sample_{name}_mcse"]["z"].max() > 0
    assert posterior.plan.cubes == ((26,) * 3 + (25,) * 5 if draws == "stratified" else ())


def test_errors_of_stratified_means_are_far_below_those_of_independent_ones():
    stratified, independent = run(1), run(1, draws="independent")
    ratio = independent["post_sample_means_mcse"]["z"] / stratified["post_sample_means_mcse"]["z"]
    assert np.median(ratio) > 5


def test_too_few_draws_for_errors_are_refused():
    with pytest.raises(RequestError, match="mcse=True divides the draws into 8.*at least 16"):
        run(1, num_samples=15)
    with pytest.raises(RequestError, match="mcse must be True or False"):
        run(1, mcse=0.05)


def test_formulas_of_independent_normal_draws():
    draws = np.random.default_rng(1).normal(size=(1000, 400))
    sd = draws.std(0)
    assert mean_error(sd, 1000).mean() == pytest.approx(1000**-0.5, rel=0.01)
    assert draws.mean(0).std() == pytest.approx(1000**-0.5, rel=0.15)
    assert sd_error(draws).mean() == pytest.approx(2000**-0.5, rel=0.03)
    assert sd.std() == pytest.approx(2000**-0.5, rel=0.15)
    quantiles = np.quantile(draws, 0.05, axis=0)
    known = (0.05 * 0.95 / 1000) ** 0.5 / NormalDist().pdf(NormalDist().inv_cdf(0.05))
    assert quantile_error(draws, 0.05).mean() == pytest.approx(known, rel=0.05)
    assert quantiles.std() == pytest.approx(known, rel=0.15)


def test_fixed_values_have_no_error():
    fixed = np.ones((50, 3))
    assert (sd_error(fixed) == 0).all()
    assert (quantile_error(fixed, 0.5) == 0).all()
    assert (error_from_replicates([np.ones(3)] * 8) == 0).all()
    assert error_from_replicates([np.array([1, 2])] * 8).dtype == np.float64
