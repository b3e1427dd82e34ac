"""Posteriors known in closed form, exact joint draws, and minibatches of any size."""

from __future__ import annotations

import numpy as np
import pytest

from toy_models import BetaBinomial, ConjugateNormal, assert_normal, assert_within, sample

BATCH_SIZES = [None, 22, 7, 1]  # all at once (two ways), a last batch of one, ones


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_conjugate_normal(engine, batch_size):
    # The loop is slow in minibatches of one: fewer draws, wider bounds.
    num = 4000 if engine == "sliced" else {None: 1000, 22: 1000, 7: 300, 1: 48}[batch_size]
    toy = ConjugateNormal()
    posterior = sample(
        toy.model, toy.guide, toy.data, batch_size=batch_size, num_samples=num, engine=engine
    )
    assert_normal(posterior, toy.exact())


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_draws_of_all_minibatches_are_one_joint_draw(engine, batch_size):
    toy = ConjugateNormal()
    draws = sample(
        toy.model,
        toy.guide,
        toy.data,
        batch_size=batch_size,
        num_samples=20,
        return_samples=True,
        engine=engine,
    )["posterior_samples"]
    mu = draws["mu"][:, None]
    assert draws["mu_times_y"].shape == (20, toy.num_obs)
    np.testing.assert_array_equal(draws["mu_times_y"], mu * toy.y.numpy())
    np.testing.assert_array_equal(draws["sum"], draws["z"] + mu)
    np.testing.assert_array_equal(draws["twice_mu"], 2 * draws["mu"])
    assert len(np.unique(draws["mu"])) == 20


def test_globals_do_not_depend_on_the_minibatches(engine):
    toy = ConjugateNormal()
    options = {"num_samples": 16, "return_samples": True, "engine": engine}
    whole = sample(toy.model, toy.guide, toy.data, **options)["posterior_samples"]
    parts = sample(toy.model, toy.guide, toy.data, batch_size=7, **options)["posterior_samples"]
    for name in ("mu", "twice_mu", "mu_times_y"):
        np.testing.assert_array_equal(whole[name], parts[name])


@pytest.mark.parametrize("batch_size", [None, 3])
def test_beta_binomial(engine, batch_size):
    stats = pytest.importorskip("scipy.stats")
    toy, num = BetaBinomial(), 1000 if engine == "sliced" else 400
    posterior = sample(
        toy.model, toy.guide, toy.k, batch_size=batch_size, num_samples=num, engine=engine
    )
    k = toy.k.numpy()
    exact = stats.beta(2 + k, 23 - k)
    sd = exact.std()
    assert_within(posterior["post_sample_means"]["p"], exact.mean(), sd / num**0.5, "mean")
    kurtosis = exact.stats(moments="k") + 3
    error = sd * np.sqrt((kurtosis - 1) / (4 * num))
    assert_within(posterior["post_sample_stds"]["p"], sd, error, "sd")
    for key, p in (("post_sample_q05", 0.05), ("post_sample_q95", 0.95)):
        quantile = exact.ppf(p)
        error = np.sqrt(p * (1 - p) / num) / exact.pdf(quantile)
        assert_within(posterior[key]["p"], quantile, error, key)


def test_draws_are_independent_over_draws_rows_and_sites(engine):
    """Correlations of what should be independent noise are near zero, and no row repeats."""
    toy = ConjugateNormal(12)
    num = 640
    draws = sample(
        toy.model,
        toy.guide,
        toy.data,
        batch_size=5,
        num_samples=num,
        return_samples=True,
        engine=engine,
    )["posterior_samples"]
    mu = (draws["mu"] - toy.mu_mean) / toy.mu_var**0.5
    noise = (draws["z"] - (draws["mu"][:, None] + toy.y.numpy()) / 2) / 0.5**0.5
    columns = np.column_stack([mu, noise])
    assert len(np.unique(columns, axis=0)) == num
    assert np.unique(noise).size > noise.size * 0.99
    between = np.corrcoef(columns.T)[np.triu_indices(13, 1)]
    assert_within(between, 0.0, num**-0.5, "between sites and rows")
    for lag in (1, 7, 8, 16):
        along = (columns[lag:] * columns[:-lag]).mean(0)
        assert_within(along, 0.0, (num - lag) ** -0.5, f"between draws {lag} apart")
