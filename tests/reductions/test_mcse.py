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
from pyro_posterior.reductions.mcse import Errors, mean_error, quantile_error, sd_error
from pyro_posterior.reductions.replicates import function_error

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


def middle(x, axis):
    """A function of the caller's: the width of the middle half."""
    return np.quantile(x, 0.75, axis=axis) - np.quantile(x, 0.25, axis=axis)


FUNS = ["means", "stds", "q05", "q95", "median", {"middle": middle}]
NORMAL = NormalDist()
#: What is known of a standard normal number, its exponential, and the sum of five.
KNOWN = {
    "means": (0.0, np.exp(0.5), 0.0),
    "stds": (1.0, ((np.e - 1) * np.e) ** 0.5, 5**0.5),
    **{
        name: (NORMAL.inv_cdf(q), np.exp(NORMAL.inv_cdf(q)), 5**0.5 * NORMAL.inv_cdf(q))
        for name, q in (("q05", 0.05), ("q95", 0.95), ("median", 0.5))
    },
    "middle": tuple(
        f(NORMAL.inv_cdf(0.75)) - f(NORMAL.inv_cdf(0.25))
        for f in (float, np.exp, lambda z: 5**0.5 * z)
    ),
}
WHICH = {"normal": slice(0, COLUMNS), "exponential": slice(COLUMNS, -1), "sum": slice(-1, None)}


@pytest.fixture(
    scope="module", params=[(200, "stratified"), (1000, "stratified"), (400, "independent")]
)
def drawn(request):
    """The rules alone, as a run would draw: summaries and errors of 200 seeds of 8 parts."""
    from pyro_posterior.contracts import RunPlan
    from pyro_posterior.keyed.fills import NORMAL, fill
    from pyro_posterior.keyed.keys import Key, Where
    from pyro_posterior.reductions.plan import plan_summaries, with_errors_of

    count, draws = request.param
    plan = RunPlan((), None, count, 0, (3,), (), False, "loop", draws, 8)
    summaries = with_errors_of(plan, plan_summaries(FUNS))
    found = []
    for seed in range(SEEDS):
        at = Where(seed, range(count), 0, plan.cubes)
        z = fill(NORMAL, Key("z", 0, True), at, (COLUMNS,), torch.float32, torch.device("cpu"))
        found.append(summaries.compute(torch.cat([z, z.exp(), z.sum(1, keepdim=True)], 1)).values)
    return found


def distances_and_errors(drawn, name: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    """How far from what is known the summaries of all seeds are, and how far they say."""
    known = KNOWN[name][list(WHICH).index(what)]
    values, errors = (
        np.array([found[f"post_sample_{name}{end}"] for found in drawn], float)[:, WHICH[what]]
        for end in ("", "_mcse")
    )
    return values - known, errors


@pytest.mark.parametrize("what", WHICH)
@pytest.mark.parametrize("name", KNOWN)
def test_errors_are_no_smaller_than_the_distance_to_what_is_known(drawn, name, what):
    """The root of the mean square over 200 seeds, which is known to 5 %."""
    distances, errors = distances_and_errors(drawn, name, what)
    told = (errors**2).mean() ** 0.5
    true = (distances**2).mean() ** 0.5
    heavy = (name, what) == ("stds", "exponential")  # whose fourth moment a few draws make
    assert told > (0.7 if heavy else 0.87) * true
    assert told < 1.8 * true


@pytest.mark.parametrize("what", WHICH)
@pytest.mark.parametrize("name", KNOWN)
def test_intervals_hold_the_known_value_as_often_as_they_say(drawn, name, what):
    """Student's t with 7 degrees of freedom, 200 to 1,000 intervals."""
    distances, errors = distances_and_errors(drawn, name, what)
    if what == "exponential" and name in ("means", "stds"):
        pytest.skip("errors of few draws with a long tail are mostly too small, some far too large")
    assert (np.abs(distances) < 2.365 * errors).mean() > (0.88 if name == "middle" else 0.9)


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
    with pytest.raises(RequestError, match="mcse=0.05 is an error to be reached"):
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
    assert (function_error(lambda x: x.mean(0), fixed, (7, 7, 6, 6, 6, 6, 6, 6)) == 0).all()
    told = Errors((25, 25), True).of_function(lambda x: x.sum(0), fixed, np.ones(3, int))
    assert told.dtype == np.float64
