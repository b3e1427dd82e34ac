"""Where `to_anndata` puts every site, against the arrays of the posterior themselves."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError
from pyro_posterior.exports.anndata import to_anndata

anndata = pytest.importorskip("anndata")

CELLS, GENES, FACTORS = 7, 5, 2
TYPES = ["T", "B"]


def model(x):
    """Two factors over genes, weighted in each cell."""
    loadings = pyro.sample("loadings", dist.Normal(0, 1).expand([FACTORS, GENES]).to_event(2))
    pyro.sample("level", dist.Normal(0, 1).expand([1, GENES]).to_event(2))
    pyro.sample("scale", dist.Gamma(2, 2))
    with pyro.plate("cells", len(x), dim=-1):
        weights = pyro.sample("weights", dist.Normal(0, 1).expand([FACTORS]).to_event(1))
        pyro.sample("depth", dist.Normal(0, 1))
        pyro.sample("obs", dist.Normal(weights @ loadings, 1).to_event(1), obs=x)


@pytest.fixture
def case():
    x = torch.randn(CELLS, GENES)
    posterior = sample_posterior(
        model, AutoNormal(model), x, obs_plate="cells", num_samples=9, return_samples=True, seed=0, engine="loop",
        show_progress=False,
    )  # fmt: skip
    return posterior, anndata.AnnData(x.numpy())


def test_every_site_in_its_place(case):
    posterior, adata = case
    assert to_anndata(posterior, adata, factor_names=TYPES) is adata
    for short in ("means", "stds", "q05", "q95"):
        arrays = posterior[f"post_sample_{short}"]
        weights = adata.obsm[f"{short}_weights"]
        assert list(weights.columns) == TYPES
        assert list(weights.index) == list(adata.obs_names)
        np.testing.assert_array_equal(weights.to_numpy(), arrays["weights"])
        np.testing.assert_array_equal(adata.obsm[f"{short}_depth"][:, 0], arrays["depth"])
        loadings = adata.varm[f"{short}_loadings"]
        assert list(loadings.columns) == TYPES
        np.testing.assert_array_equal(loadings.to_numpy(), arrays["loadings"].T)
        np.testing.assert_array_equal(adata.varm[f"{short}_level"], arrays["level"].T)
        np.testing.assert_array_equal(
            adata.uns["pyro_posterior"][f"{short}_scale"], arrays["scale"]
        )
    assert adata.uns["pyro_posterior"]["seed"] == 0
    held = [*adata.obsm, *adata.varm, *adata.uns["pyro_posterior"]]
    assert not any("samples" in name and name != "num_samples" for name in held)


def test_it_can_be_written_and_read_back(case, tmp_path):
    posterior, adata = case
    to_anndata(posterior, adata, factor_names={"weights": TYPES}, sites=["weights", "scale"])
    assert set(adata.obsm) == {f"{s}_weights" for s in ("means", "stds", "q05", "q95")}
    assert len(adata.varm) == 0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(again.obsm["means_weights"], adata.obsm["means_weights"])
    assert again.uns["pyro_posterior"]["num_samples"] == 9


def test_rows_follow_the_names_of_the_observations(case):
    posterior, adata = case
    posterior.coords["obs"] = adata.obs_names.to_numpy()[::-1]
    to_anndata(posterior, adata)
    np.testing.assert_array_equal(
        adata.obsm["means_weights"], posterior["post_sample_means"]["weights"][::-1]
    )


def test_what_does_not_fit_is_an_error(case):
    posterior, adata = case
    with pytest.raises(RequestError, match="7 observations, adata 3"):
        to_anndata(posterior, adata[:3].copy())
    posterior.coords["obs"] = adata.obs_names.to_numpy()[[0, 0, 1, 2, 3, 4, 5]]
    with pytest.raises(RequestError, match="6 different ones"):
        to_anndata(posterior, adata)
    posterior.coords.clear()
    with pytest.raises(RequestError, match="nonsense"):
        to_anndata(posterior, adata, sites=["nonsense"])
    with pytest.raises(RequestError, match="takes the Posterior"):
        to_anndata(dict(posterior), adata)
    with pytest.raises(RequestError, match="list of names"):
        to_anndata(posterior, adata, factor_names="T")
    with pytest.raises(RequestError, match="names for"):
        to_anndata(posterior, adata, factor_names={"weight": TYPES})


def names_become_text(adata, names):
    adata.obs_names = [*map(str, names)]
    return adata


def test_numbers_that_became_text_are_matched_in_any_order(case):
    posterior, adata = case
    names = np.array([10, 9, 8, 7, 100, 2, 1])
    posterior.coords["obs"] = names
    order = np.argsort(names.astype(str))
    to_anndata(posterior, names_become_text(adata, names[order]))
    np.testing.assert_array_equal(
        adata.obsm["means_weights"], posterior["post_sample_means"]["weights"][order]
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # of anndata: names that are not unique
def test_names_that_are_one_as_text_are_refused(case):
    posterior, adata = case
    posterior.coords["obs"] = np.array([1, "1", 2, 3, 4, 5, 6], dtype=object)
    with pytest.raises(RequestError, match="7 .6 different ones, as text"):
        to_anndata(posterior, names_become_text(adata, ["1", "1", 3, 2, 4, 5, 6]))
    with pytest.raises(RequestError, match="names of the observations are not those of adata"):
        to_anndata(posterior, names_become_text(adata, [1, 11, 2, 3, 4, 5, 6]))


def test_genes_follow_their_names(case):
    posterior, adata = case
    posterior.coords["var"] = adata.var_names.to_numpy()[::-1]
    to_anndata(posterior, adata)
    np.testing.assert_array_equal(
        adata.varm["means_loadings"], posterior["post_sample_means"]["loadings"].T[::-1]
    )


def test_names_with_slashes_can_be_written_and_read(tmp_path):
    def scoped(x):
        pyro.sample("enc/scale", dist.Normal(0.0, 1.0))
        pyro.sample("enc.scale", dist.Normal(0.0, 1.0))
        with pyro.plate("obs", len(x)):
            pyro.sample("enc/z", dist.Normal(torch.zeros(len(x)), 1.0))

    posterior = sample_posterior(
        scoped, scoped, torch.zeros(3), obs_plate="obs", num_samples=2, show_progress=False
    )
    adata = to_anndata(posterior, anndata.AnnData(np.zeros((3, 2), np.float32)))
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm["means_enc.z"][:, 0], posterior.means["enc/z"])
    for name, site in (("enc%2Fscale", "enc/scale"), ("enc.scale", "enc.scale")):
        assert again.uns["pyro_posterior"][f"means_{name}"] == posterior.means[site]


def test_what_is_no_anndata_and_names_that_fit_no_table_are_refused(case):
    posterior, adata = case[0], anndata.AnnData(np.zeros((CELLS, GENES), np.float32))
    with pytest.raises(RequestError, match="into an AnnData, found None"):
        to_anndata(posterior, None)
    with pytest.raises(RequestError, match="3 names, and no site is a table"):
        to_anndata(posterior, adata, factor_names=["a", "b", "c"])
