"""Draws are in ArviZ's groups by kind of site."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exports.made import made

pytest.importorskip("arviz")

KINDS = {
    "z": "latent",
    "twice": "deterministic",
    "share": "derived",
    "y": "predicted",
    "y_observed": "observed",
    "w": "observed",
    "w_observed": "latent",
}


@pytest.fixture(scope="module")
def posterior():
    rng = np.random.default_rng(0)
    posterior = made({name: rng.normal(size=(9, 4)) for name in KINDS}, keep=True)
    sites = tuple(replace(site, kind=KINDS[site.name]) for site in posterior.plan.sites)
    posterior.plan = replace(posterior.plan, sites=sites)
    return posterior


def test_no_observed_or_predicted_site_is_among_the_draws_of_the_posterior(posterior):
    data = posterior.to_arviz()
    assert set(data["posterior"].data_vars) == {"z", "twice", "share", "w_observed"}
    assert set(data["posterior_predictive"].data_vars) == {"y"}
    assert set(data["observed_data"].data_vars) == {"y", "w"}
    np.testing.assert_array_equal(data["posterior_predictive"]["y"][0], posterior.draws["y"])
    np.testing.assert_array_equal(data["observed_data"]["y"], posterior.draws["y_observed"][0])
    assert data["observed_data"]["y"].dims == ("y_observed_dim_0",)


def test_the_tree_has_the_same_groups_of_draws(posterior):
    tree = posterior.to_xarray()
    assert set(tree["posterior_samples"].data_vars) == {"z", "twice", "share", "w_observed"}
    assert set(tree["posterior_predictive"].data_vars) == {"y"}
    assert "y" in tree["post_sample_means"]
