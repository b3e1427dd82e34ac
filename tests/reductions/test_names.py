"""Summaries by name: each is what NumPy, ArviZ or counting gives on the same draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_posterior.reductions.device import summarise_on_device
from pyro_posterior.reductions.plan import plan_summaries

NAMES = ["mean", "sd", "median", "q025", "q975", "hdi90", "eti50", "prob>0", "prob_zero", "mode"]


def by_both_paths(draws, names):
    """On the CPU and by the path of accelerators, which must agree."""
    plan = plan_summaries(names)
    values = plan.compute(draws).values
    statistics = [one for one in plan.statistics if one is not None]
    found, _ = summarise_on_device(draws.reshape(len(draws), -1), statistics)
    for name, other in zip(plan.names, found, strict=True):
        np.testing.assert_allclose(
            other.reshape(values[name].shape), values[name], rtol=1e-5, atol=1e-6, err_msg=name
        )
        assert other.dtype == values[name].dtype
    return {name.removeprefix("post_sample_"): value for name, value in values.items()}


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_values(count, dtype):
    x = np.random.default_rng(count).normal(0.3, 2.0, (count, 3, 4)).astype(dtype)
    got = by_both_paths(torch.from_numpy(x), NAMES)
    assert list(got) == NAMES
    quantiles = {"q025": 0.025, "q975": 0.975, "median": 0.5}
    for name, q in quantiles.items():
        np.testing.assert_allclose(got[name], np.quantile(x, q, axis=0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got["eti50"], np.quantile(x, [0.25, 0.75], axis=0), rtol=1e-6)
    np.testing.assert_allclose(got["prob>0"], (x > 0).mean(0), rtol=1e-6)
    np.testing.assert_allclose(got["prob_zero"], (x == 0).mean(0), rtol=1e-6)
    np.testing.assert_allclose(got["mean"], x.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["sd"], x.std(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("probability", [0.03, 0.5, 0.89, 0.9, 0.94])
@pytest.mark.parametrize("count", [2, 57, 400, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hdi_is_arvizs(probability, count, dtype):
    arviz = pytest.importorskip("arviz")
    x = np.random.default_rng(1).gamma(0.7, 3.0, (count, 5)).astype(dtype)
    name = f"hdi{100 * probability:g}"
    got = by_both_paths(torch.from_numpy(x), [name])[name]
    for column in range(5):
        theirs = arviz.hdi(x[:, column], hdi_prob=probability)
        np.testing.assert_allclose(got[:, column], theirs, rtol=0, atol=1e-6)


def test_hdi_of_all_draws_is_their_range():
    x = torch.randn(50, 4)
    got = by_both_paths(x, ["hdi100"])["hdi100"]
    np.testing.assert_array_equal(got, torch.stack([x.amin(0), x.amax(0)]))


def test_mode_of_counts_is_the_value_drawn_most_often():
    x = np.random.default_rng(2).poisson(3.4, (701, 6))
    x[:, 5] = np.resize([4, 2], 701)[::-1]
    x[-1, 5] = 7  # 350 of each: the smaller one
    answer = [np.bincount(column).argmax() for column in x.T]
    for dtype in (torch.int32, torch.float32, torch.float64):
        got = by_both_paths(torch.from_numpy(x).to(dtype), ["mode"])["mode"]
        np.testing.assert_array_equal(got, answer)


def test_mode_of_other_numbers_lies_where_they_are_dense():
    x = np.random.default_rng(3).gamma(3.0, 2.0, (20_000, 8))
    got = by_both_paths(torch.from_numpy(x), ["mode"])["mode"]
    np.testing.assert_allclose(got.mean(), 4.0, atol=0.35)  # (shape - 1) * scale; mean is 6
    np.testing.assert_allclose(
        by_both_paths(torch.tensor([[1.0], [1.5], [9.25]]), ["mode"])["mode"], 1.25
    )


def test_draws_that_are_no_numbers_leave_a_gap():
    x = torch.randn(40, 3)
    x[7, 1] = torch.nan
    for name, value in by_both_paths(x, NAMES).items():
        assert np.isnan(value[..., 1]).all(), name
        assert np.isfinite(value[..., [0, 2]]).all(), name


def test_names_and_functions_together():
    x = torch.randn(30, 2)
    own = lambda draws, axis: draws[0]  # noqa: E731
    values = plan_summaries(["mean", {"mine": own}, "post_sample_hdi50"]).compute(x).values
    assert list(values) == ["post_sample_mean", "post_sample_mine", "post_sample_hdi50"]
    np.testing.assert_array_equal(values["post_sample_mine"], x[0])
    assert values["post_sample_hdi50"].shape == (2, 2)


def test_one_name_alone():
    assert plan_summaries("median").names == ("post_sample_median",)


@pytest.mark.parametrize(
    ("name", "share"), [("prob<-1.5", 0.25), ("prob=2", 0.5), ("prob > 1.9", 0.5), ("prob<0", 0.5)]
)
def test_thresholds(name, share):
    x = torch.tensor([-2.0, -1.0, 2.0, 2.0])[:, None]
    np.testing.assert_array_equal(by_both_paths(x, [name])[name], [share])


def test_booleans():
    x = torch.tensor([True, False, True, True])[:, None]
    got = by_both_paths(x, ["prob_zero", "mean", "prob>0"])
    assert (got["prob_zero"], got["mean"], got["prob>0"]) == (0.25, 0.75, 0.75)
