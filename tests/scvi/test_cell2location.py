"""cell2location: RegressionModel, then Cell2location, with their own export and plots."""

from __future__ import annotations

import numpy as np
import pytest

from agreement import disagreements
from pyro_posterior.scvi import sample_posterior, use_in
from scvi_setup import seeded, theirs

SPOTS, GENES, TYPES = 90, 30, 3


def test_draws_are_joint_in_minibatches(cell2location, engine):
    """mRNA per cell type is local and computed from the global ``m_g``; the check on scvi-tools."""
    sites = ["w_sf", "m_g", "u_sf_mRNA_factors"]
    options = {"num_samples": 8, "batch_size": 40, "return_samples": True}

    def mismatch(draws):
        signature = cell2location.module.model.cell_state.numpy()  # (type, gene)
        per_type = (signature * draws["m_g"]).sum(-1)[:, None, :]
        expected = draws["w_sf"] * per_type
        return np.abs(draws["u_sf_mRNA_factors"] / expected - 1).max()

    ours = sample_posterior(
        cell2location, **options, return_sites=sites, seed=2, engine=engine, show_progress=False
    )
    assert ours["posterior_samples"]["w_sf"].shape == (8, SPOTS, TYPES)
    assert mismatch(ours["posterior_samples"]) < 1e-5
    seeded(2)
    unlike = theirs(cell2location, **options, return_sites=list(sites))
    assert mismatch(unlike["posterior_samples"]) > 1e-3


def test_share_of_cell_types_per_region(cell2location, engine):
    """The lines of the page for users of scvi-tools; shares of a region add up in every draw."""
    adata = cell2location.adata
    adata.obs["region"] = np.where(np.arange(SPOTS) % 3 == 0, "tumour", "normal")
    posterior = sample_posterior(
        cell2location,
        num_samples=8,
        batch_size=40,
        return_sites=["w_sf"],
        return_samples=True,
        derived={"share": lambda s: s["w_sf"] / s["w_sf"].sum(-1, keepdim=True)},
        grouped={"share_by_region": ("share", "region", "mean")},
        engine=engine,
        seed=1,
        show_progress=False,
    )
    w = posterior.draws["w_sf"].astype(float)
    share = w / w.sum(-1, keepdims=True)
    tumour = (adata.obs["region"] == "tumour").to_numpy()
    difference = posterior.contrast("share_by_region", "tumour", "normal")
    np.testing.assert_allclose(
        difference.draws, share[:, tumour].mean(1) - share[:, ~tumour].mean(1), atol=1e-6
    )
    assert difference.above_zero.shape == (TYPES,)
    np.testing.assert_allclose(posterior.draws["share_by_region"].sum(-1), 1.0, rtol=1e-6)


def test_a_last_minibatch_of_one_spot(cell2location, engine):
    posterior = sample_posterior(
        cell2location, num_samples=4, batch_size=SPOTS - 1, engine=engine, show_progress=False
    )
    assert posterior["post_sample_means"]["w_sf"].shape == (SPOTS, TYPES)


@pytest.mark.parametrize("which", ["reference", "cell2location"])
def test_means_and_sds_are_those_of_scvi_tools(which, engine, request):
    model = request.getfixturevalue(which)
    seeded(3)
    expected = theirs(model, num_samples=100, batch_size=45, return_samples=True)
    ours = sample_posterior(
        model, num_samples=104, batch_size=45, return_samples=True, seed=2, engine=engine,
        show_progress=False,
    )  # fmt: skip
    assert set(ours) == set(expected)
    wrong = {}
    for name, draws in expected["posterior_samples"].items():
        found = ours["posterior_samples"][name]
        assert found.shape[1:] == draws.shape[1:], name
        wrong[name] = disagreements(found, draws)
    assert not any(wrong.values()), wrong


def test_export_and_quality_plots(reference, cell2location, engine_for_all, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    kwargs = {"num_samples": 8, "batch_size": 40, "use_gpu": False, "show_progress": False}
    with use_in(type(reference), type(cell2location)):
        cells = reference.export_posterior(reference.adata.copy(), sample_kwargs=dict(kwargs))
        reference.plot_QC()
        spots = cell2location.export_posterior(
            cell2location.adata.copy(), sample_kwargs=dict(kwargs)
        )
        cell2location.plot_QC()
    plt.close("all")
    assert cells.varm["means_per_cluster_mu_fg"].shape == (GENES, TYPES)
    for name in ("means", "stds", "q05", "q95"):
        table = spots.obsm[f"{name}_cell_abundance_w_sf"]
        assert table.shape == (SPOTS, TYPES)
        np.testing.assert_array_equal(
            table.to_numpy(), spots.uns["mod"][f"post_sample_{name}"]["w_sf"]
        )
    assert (spots.obsm["q05_cell_abundance_w_sf"].to_numpy()
            <= spots.obsm["q95_cell_abundance_w_sf"].to_numpy()).all()  # fmt: skip
    assert list(spots.uns["mod"]["factor_names"]) == list(cell2location.factor_names_)
    assert hasattr(cell2location.samples, "plan")
