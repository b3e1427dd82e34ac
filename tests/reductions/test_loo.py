"""Smoothed weights, LOO, k-hat and LOO-PIT against ArviZ on the same numbers."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pyro_posterior.answers import Check
from pyro_posterior.reductions.khat import Khat
from pyro_posterior.reductions.loo import leave_out, probability_integral_transform, total
from pyro_posterior.reductions.psis import smooth, tail_length

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    arviz = pytest.importorskip("arviz")


def log_likelihoods(draws=400, obs=30, seed=0):
    """From harmless to hopeless: the observations differ in how heavy the tails of 1/p are."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(0.01, 3.0, obs)
    return -np.abs(rng.standard_t(4, (draws, obs))) * scale - 1.0


@pytest.mark.parametrize("draws", [30, 100, 225, 400, 1000, 2500])
def test_weights_and_k_are_those_of_arviz(draws):
    ratios = -log_likelihoods(draws).T
    weights, k = arviz.psislw(ratios)
    got = smooth(ratios)
    np.testing.assert_allclose(got.k, k, atol=1e-8)
    np.testing.assert_allclose(got.log_weights, weights, atol=1e-8)


@pytest.mark.parametrize("draws", [100, 400, 1000])
def test_weights_and_k_are_those_of_arviz_stats(draws):
    from arviz_stats.base import array_stats

    ratios = -log_likelihoods(draws).T
    tail = int(array_stats._get_ps_tails(draws, 1.0, tail="right"))
    assert abs(tail - tail_length(draws)) <= 1  # ArviZ 1.x rounds down
    got = smooth(ratios, tail)
    for row, found, k in zip(ratios, got.log_weights, got.k, strict=True):
        weights, answer = array_stats.psislw(-row)
        np.testing.assert_allclose(k, answer, atol=1e-8)
        np.testing.assert_allclose(found, weights, atol=1e-8)


def test_equal_ratios_and_few_draws_have_no_fit():
    ratios = np.zeros((2, 50))
    ratios[1, :3] = 5.0
    weights, k = arviz.psislw(ratios)
    got = smooth(ratios)
    np.testing.assert_array_equal(got.k, k)
    np.testing.assert_array_equal(got.k, np.inf)
    np.testing.assert_allclose(got.log_weights, weights)
    assert smooth(np.zeros((1, 1))).log_weights == 0


def test_ties_at_the_cutoff():
    ratios = np.round(log_likelihoods(300, 8), 1).T
    weights, k = arviz.psislw(ratios)
    got = smooth(ratios)
    np.testing.assert_allclose(got.k, k, atol=1e-8)
    # Which of equal ratios gets which quantile is anybody's choice.
    np.testing.assert_allclose(np.sort(got.log_weights), np.sort(weights), atol=1e-8)


def test_a_row_without_numbers_is_a_gap_and_leaves_the_others():
    ratios = -log_likelihoods(100, 4).T
    ratios[2, 5] = np.nan
    got = smooth(ratios)
    np.testing.assert_array_equal(np.isnan(got.k), [False, False, True, False])
    np.testing.assert_allclose(got.k[3], arviz.psislw(ratios[3:])[1][0], atol=1e-8)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_loo_is_arvizs():
    values = log_likelihoods(1000, 40)
    data = arviz.from_dict(posterior={"x": np.zeros((1, 1000))}, log_likelihood={"y": values[None]})
    theirs = arviz.loo(data, pointwise=True)
    parts = [leave_out(values[:, :13])[0], leave_out(values[:, 13:])[0]]
    ours = total(parts, 1000, corrected=False)
    assert ours.elpd == pytest.approx(theirs.elpd_loo, abs=1e-4)
    assert ours.se == pytest.approx(theirs.se, abs=1e-4)
    assert ours.p_loo == pytest.approx(theirs.p_loo, abs=1e-4)
    np.testing.assert_allclose(ours.k, theirs.pareto_k, atol=1e-4)
    np.testing.assert_allclose(ours.pointwise.elpd, theirs.loo_i, atol=1e-4)
    assert ours.num_bad == (theirs.pareto_k > 2 / 3).sum() > 0
    assert "40 observations" in repr(ours)


def test_loo_of_an_approximation_is_arvizs():
    from arviz_stats.base import array_stats

    values = log_likelihoods(400, 12)
    rng = np.random.default_rng(1)
    log_p, log_q = rng.normal(size=400) - 1000, 0.5 * rng.normal(size=400) - 990
    got, _ = leave_out(values, log_p - log_q)
    for i in range(12):
        elpd, k, p_loo = array_stats.loo_approximate_posterior(
            values[None, :, i], log_p[None], log_q[None], chain_axis=0, draw_axis=1
        )
        assert got.elpd[i] == pytest.approx(float(elpd), abs=1e-4)
        assert got.k[i] == pytest.approx(float(k), abs=1e-4)
        assert got.p_loo[i] == pytest.approx(float(p_loo), abs=1e-4)


def test_loo_pit_is_arvizs():
    rng = np.random.default_rng(2)
    values, predicted, observed = (
        log_likelihoods(400, 9),
        rng.normal(size=(400, 9)),
        rng.normal(size=9),
    )
    weights = leave_out(values)[1].log_weights
    got = probability_integral_transform(observed, predicted, weights)
    theirs = arviz.loo_pit(y=observed, y_hat=predicted.T, log_weights=weights)
    np.testing.assert_allclose(got, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("khat", "pointwise", "words"),
    [
        (0.2, None, "close to the posterior"),
        (0.6, None, "usable as a whole"),
        (0.9, None, "cannot be"),
        (2.0, np.r_[np.zeros(99), 1.0], "99 of 100: with many local variables"),
        (np.inf, None, "could not be fitted"),
    ],
)
def test_verdicts(khat, pointwise, words):
    assert words in Khat(khat, pointwise, 1000).verdict


def test_gaps_have_no_place_among_predictions():
    predicted = np.array([[0.0, 0.0, np.nan], [2.0, 2.0, 2.0]])
    found = probability_integral_transform(
        np.array([1.0, np.nan, 1.0]), predicted, np.log(np.full((3, 2), 0.5))
    )
    np.testing.assert_array_equal(found, [0.5, np.nan, np.nan])
    assert np.isnan(Check(np.nan, np.ones(3)).p_value)
    assert np.isnan(Check(1.0, np.array([1.0, np.nan])).p_value)
    assert Check(1.0, np.array([1.0, 0.0])).p_value == 0.5
