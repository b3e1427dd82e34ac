"""Means and sds at the ends of what a dtype can hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_posterior.reductions.device import summarise_on_device
from pyro_posterior.reductions.plan import plan_summaries

SIZES = {
    torch.float32: [1e-42, 1e-38, 1e-30, 1e-20, 1.0, 1e18, 1e25, 1e30, 3e37],
    torch.float64: [1e-310, 1e-200, 1e-150, 1.0, 1e150, 1e200, 1e305],
}


@pytest.mark.parametrize("dtype", SIZES, ids=str)
def test_mean_and_sd_of_any_size(dtype):
    base = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    base += torch.tensor([0.0, 0.5, -2.0, 3.0], dtype=torch.float64)
    sizes = torch.tensor(SIZES[dtype], dtype=torch.float64)
    draws = (base[:, None] * sizes[:, None]).to(dtype)  # (draw, size, column)
    exact = draws.numpy().astype(np.longdouble)
    mean = exact.mean(0)
    sd = np.sqrt(np.square(exact - mean).mean(0))
    plan = plan_summaries(["mean", "sd"])
    flat = draws.reshape(1000, -1)
    on_device, _ = summarise_on_device(flat, [s for s in plan.statistics if s])
    here = [plan.compute(draws).values[f"post_sample_{name}"] for name in ("mean", "sd")]
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    for got in (here, [x.reshape(mean.shape) for x in on_device]):
        for found, answer in zip(got, (mean, sd), strict=True):
            least = np.finfo(found.dtype).smallest_subnormal
            error = np.abs(found - answer)
            assert (error <= tolerance * np.abs(sd) + least).all(), error / sd


def test_gaps_and_equal_draws_stay_what_they_are():
    draws = torch.full((9, 4), 1e30)
    draws[3, 1], draws[2, 2] = torch.nan, torch.inf
    draws[4, 3] = 3e30
    got = plan_summaries(["sd"]).compute(draws).values["post_sample_sd"]
    assert got[0] == 0
    assert np.isnan(got[1:3]).all()
    np.testing.assert_allclose(got[3], 2e30 * np.sqrt(8) / 9, rtol=1e-6)


def test_a_row_of_ordinary_numbers_is_not_touched_by_its_neighbours():
    draws = torch.randn(500, 2)
    alone = plan_summaries(["sd", "mean"]).compute(draws[:, :1]).values
    beside = plan_summaries(["sd", "mean"]).compute(torch.cat([draws[:, :1], 1e30 * draws], 1))
    for name, value in alone.items():
        np.testing.assert_array_equal(beside.values[name][:1], value)
