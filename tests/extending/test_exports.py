"""Predictions, log densities and totals in the groups that other tools expect."""

from __future__ import annotations

import numpy as np
import pytest

from extending.cases import LABELS, Y, guide, model
from pyro_posterior import sample_posterior
from pyro_posterior.posterior import Posterior

OPTIONS = {"num_samples": 200, "seed": 1, "obs_plate": "obs", "show_progress": False}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_arviz_runs_on_all_groups():
    arviz = pytest.importorskip("arviz")
    posterior = sample_posterior(
        model,
        guide,
        (Y,),
        batch_size=7,
        return_samples=True,
        predictive=True,
        log_likelihood=True,
        grouped={"by": ("z", LABELS, "mean")},
        **OPTIONS,
    )
    data = posterior.to_arviz()
    assert set(data.groups()) == {
        "posterior",
        "posterior_predictive",
        "log_likelihood",
        "observed_data",
        "sample_stats",
    }
    assert list(data.posterior) == ["mu", "w", "z", "by"]
    np.testing.assert_array_equal(data.observed_data["y"], Y)
    assert data.posterior_predictive["y"].shape == (1, 200, 21)
    np.testing.assert_array_equal(
        data.posterior["by"].sel(by_group="b")[0], posterior.draws["by"][:, 1]
    )
    np.testing.assert_array_equal(data.sample_stats["log_p"][0], posterior.log_p)
    with pytest.warns(Warning, match="latent variables of each observation"):
        ours = posterior.loo(weighted=False)
    theirs = arviz.loo(data)
    assert ours.elpd == pytest.approx(theirs.elpd_loo, abs=1e-4)
    assert arviz.plot_ppc(data) is not None
    assert arviz.plot_forest(data, var_names=["by"]) is not None


def test_totals_are_there_without_all_draws(tmp_path):
    posterior = sample_posterior(
        model, guide, (Y,), grouped={"by": ("z", LABELS, "mean")}, **OPTIONS
    )
    assert list(posterior.draws) == ["by"]
    assert posterior.draws["by"].shape == (200, 3)
    assert posterior.summary("by").shape[0] == 3
    pytest.importorskip("zarr")
    back = Posterior.open(posterior.save(tmp_path / "saved.zarr"))
    np.testing.assert_array_equal(back.means["by"], posterior.means["by"])
    np.testing.assert_array_equal(back.draws["by"], posterior.draws["by"])
