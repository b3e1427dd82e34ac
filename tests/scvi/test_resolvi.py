"""RESOLVI, trained on synthetic cells: shapes, joint draws, model=, and its own methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agreement import disagreements
from pyro_posterior.errors import RequestError
from pyro_posterior.scvi import sample_posterior, use_in
from scvi_setup import QUIET, counts, seeded, theirs

CELLS, GENES, NEIGHBOURS, LABELS = 50, 60, 10, 3
QUICK = {"num_samples": 4, "batch_size": 20, "show_progress": False, "seed": 3}


def draws_of(trained, engine, **kwargs):
    return sample_posterior(trained, return_samples=True, engine=engine, **(QUICK | kwargs))[
        "posterior_samples"
    ]


def test_sites_lie_along_the_cells(resolvi, engine):
    """Batches of 20, 20 and 10: scvi-tools lays these two along a wrong axis, then fails."""
    posterior = sample_posterior(resolvi, engine=engine, **QUICK)
    shapes = {name: array.shape for name, array in posterior["post_sample_stds"].items()}
    assert shapes["diffusion_proportion_per_neighbor"] == (CELLS, NEIGHBOURS, 1)
    assert shapes["px_rate_n"] == (CELLS, NEIGHBOURS, GENES)
    assert shapes["probs_prediction"] == (CELLS, LABELS)
    assert shapes["px_r_inv"] == (CELLS, GENES)
    assert shapes["per_gene_background"] == (1, GENES)
    assert shapes["sparsity_diffusion"] == (1,)


def test_draws_are_joint(resolvi, engine):
    """Deterministic sites recomputed from the returned draws of their parents."""
    draws = draws_of(resolvi, engine)
    per_neighbor = draws["per_neighbor_diffusion"][..., None]
    amount = draws["diffusion_mixture_proportion"][..., None, :]
    np.testing.assert_allclose(
        draws["diffusion_proportion_per_neighbor"], per_neighbor * amount, rtol=1e-5
    )
    library = np.asarray(resolvi.adata.X.sum(1)).reshape(-1, 1)
    background = draws["background_mixture_proportion"] * library * draws["per_gene_background"]
    np.testing.assert_allclose(draws["background"], background, rtol=1e-5)
    with torch.no_grad():
        latent = torch.from_numpy(draws["latent"])
        probs = resolvi.module.model.classifier(latent.flatten(0, 1)).unflatten(0, latent.shape[:2])
    np.testing.assert_allclose(draws["probs_prediction"], probs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("which", "value"), [("model_corrected", 1.0), ("model_residuals", 0.0)])
def test_the_model_given_is_used_in_every_draw(resolvi, engine, which, value):
    sites = ["true_mixture_proportion", "diffusion_proportion_per_neighbor"]
    draws = draws_of(
        resolvi, engine, model=getattr(resolvi.module, which), return_sites=sites, num_samples=3
    )
    assert (draws["true_mixture_proportion"] == value).all()
    if which == "model_corrected":
        assert (draws["diffusion_proportion_per_neighbor"] == 0).all()
    else:
        assert (draws["diffusion_proportion_per_neighbor"] > 0).any()


def test_repeated_cells_in_the_loaders_order(resolvi, engine):
    """``distances`` is fixed given the parameters, so it tells which cell a row belongs to."""
    own = {"return_sites": ["distances"], "engine": engine, "show_progress": False}
    every = sample_posterior(resolvi, num_samples=1, **own)["post_sample_means"]["distances"]
    order = resolvi.adata.obsm["index_neighbor"][[5, 3, 40]].reshape(-1)
    loader = resolvi._make_data_loader(
        adata=resolvi.adata, indices=order, shuffle=False, batch_size=7
    )
    picked = sample_posterior(resolvi, input_dl=loader, num_samples=1, **own)
    np.testing.assert_allclose(picked["post_sample_means"]["distances"], every[order], rtol=1e-6)
    chosen = sample_posterior(resolvi, indices=order, batch_size=7, num_samples=1, **own)
    np.testing.assert_array_equal(
        chosen["post_sample_means"]["distances"], picked["post_sample_means"]["distances"]
    )


def test_its_own_methods_draw_with_ours(resolvi, engine_for_all):
    with use_in(type(resolvi)):
        soft = resolvi.predict(soft=True, num_samples=4, batch_size=20)
        labels = resolvi.predict(indices=[4, 2, 2], soft=False, num_samples=2)
        abundance = resolvi.get_neighbor_abundance(batch_size=260, n_samples=2)
        niche = resolvi.get_neighbor_abundance(
            indices=[7, 1], n_samples=3, return_mean=False, return_numpy=True
        )
    assert soft.shape == (CELLS, LABELS)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-4)
    assert labels.shape == (3,)
    assert abundance.shape == (CELLS, LABELS)
    assert list(abundance.index) == list(resolvi.adata.obs_names)
    np.testing.assert_allclose(abundance.sum(axis=1), 1, rtol=1e-4)
    assert niche.shape == (3, 2, LABELS)


def test_predict_is_the_mean_of_the_site(resolvi, engine_for_all):
    """`predict` averages ``probs_prediction`` of the corrected model, batches of 500."""
    import scvi

    before, scvi.settings.seed = scvi.settings.seed, 11
    try:
        with use_in(type(resolvi)):
            soft = resolvi.predict(soft=True, num_samples=4)
    finally:
        scvi.settings.seed = before if before is not None else 0
    ours = sample_posterior(
        resolvi, model=resolvi.module.model_corrected, return_sites=["probs_prediction"],
        num_samples=4, batch_size=500, seed=11, show_progress=False,
    )  # fmt: skip
    np.testing.assert_allclose(soft, ours["post_sample_means"]["probs_prediction"], rtol=1e-5)


SITES = ["latent", "px_scale", "probs_prediction", "mixture_proportions", "distances"]


@pytest.fixture(scope="module")
def expected(resolvi):
    """scvi-tools' draws where it is right: batches that divide the cells, one event axis."""
    seeded(5)
    return theirs(
        resolvi, num_samples=16, batch_size=25, return_samples=True, return_sites=list(SITES)
    )["posterior_samples"]


def test_means_and_sds_are_those_of_scvi_tools(resolvi, expected, engine):
    ours = draws_of(resolvi, engine, num_samples=16, batch_size=25, return_sites=SITES)
    wrong = {name: disagreements(ours[name], expected[name]) for name in SITES}
    assert not any(wrong.values()), wrong


@pytest.fixture
def two_models(tmp_path):
    """Folders of two saved models that differ in their parameters."""
    from scvi.external import RESOLVI

    adata = counts(30, 50)
    RESOLVI.setup_anndata(adata, labels_key="labels")
    for seed in (1, 2):
        seeded(seed)
        model = RESOLVI(adata, semisupervised=True, n_hidden=8, n_hidden_encoder=8)
        model.train(max_epochs=seed, lr_extra=0.3, **QUIET)
        model.save(str(tmp_path / str(seed)))
    return tmp_path, adata


def test_saved_models_and_a_second_one(two_models):
    """RESOLVI keeps parameters in pyro's store alone, and every new RESOLVI clears it."""
    from scvi.external import RESOLVI

    folder, adata = two_models
    options = {"num_samples": 2, "seed": 1, "show_progress": False, "engine": "loop"}

    def means(model):
        return sample_posterior(model, **options)["post_sample_means"]

    alone = {}
    for name in "12":
        model = RESOLVI.load(str(folder / name), adata, accelerator="cpu")
        alone[name] = means(model)
    assert not np.allclose(alone["1"]["distances"], alone["2"]["distances"])

    first = RESOLVI.load(str(folder / "1"), adata, accelerator="cpu")
    second = RESOLVI.load(str(folder / "2"), adata, accelerator="cpu")
    np.testing.assert_array_equal(means(second)["distances"], alone["2"]["distances"])
    with pytest.raises(RequestError, match="not in pyro's parameter store"):
        means(first)

    with use_in(RESOLVI):
        first = RESOLVI.load(str(folder / "1"), adata, accelerator="cpu")
        second = RESOLVI.load(str(folder / "2"), adata, accelerator="cpu")
    for name, model in (("1", first), ("2", second), ("1", first)):
        for site, value in means(model).items():
            np.testing.assert_array_equal(value, alone[name][site], err_msg=site)
