"""Our mixin in scvi-tools' place on a regression model, full data and minibatches, and loading."""

from __future__ import annotations

import anndata
import h5py
import numpy as np
import pytest

import scvi
from agreement import disagreements
from pyro_posterior.errors import RequestError
from pyro_posterior.scvi import InUse, sample_posterior, use_in
from scvi_regression import RegressionModel, TheirRegressionModel
from scvi_setup import QUIET, counts, seeded

CELLS, GENES = 45, 20


def trained(cls, per_cell, adata=None):
    adata = counts(CELLS + 1, GENES)[:CELLS].copy() if adata is None else adata
    cls.setup_anndata(adata)
    seeded(0)
    model = cls(adata, per_cell=per_cell)
    model.train(max_epochs=60, train_size=1.0, batch_size=16, lr=0.05, **QUIET)
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["global", "per cell"])
def model(request):
    return trained(RegressionModel, request.param)


@pytest.fixture(scope="module")
def local():
    return trained(RegressionModel, True)


def means(posterior):
    return posterior["post_sample_means"]


@pytest.mark.parametrize("batch_size", [None, CELLS, 16, 11])
def test_full_data_and_minibatches(model, engine, batch_size):
    """11 leaves a last minibatch of one cell, whose index the module squeezes away."""
    posterior = model.sample_posterior(
        num_samples=10, batch_size=batch_size, return_samples=True, seed=2, engine=engine,
        show_progress=False,
    )  # fmt: skip
    draws = posterior["posterior_samples"]
    assert draws["weight"].shape == (10, GENES, 1)
    assert draws["bias"].shape == draws["sigma"].shape == (10, 1, 1)
    if not model.module.model.per_cell:
        assert set(draws) == {"weight", "bias", "sigma"}
        return
    assert draws["cell"].shape == draws["mean"].shape == (10, CELLS, 1)
    x = np.log1p(model.adata.X)
    np.testing.assert_allclose(
        draws["mean"], x @ draws["weight"] + draws["bias"] + draws["cell"], rtol=1e-4, atol=1e-4
    )


def test_means_and_sds_are_those_of_scvi_tools(model, engine):
    theirs = trained(TheirRegressionModel, model.module.model.per_cell)
    theirs.module.load_state_dict(model.module.state_dict())
    seeded(5)
    expected = theirs.sample_posterior(num_samples=120, batch_size=15, return_samples=True)
    ours = model.sample_posterior(
        num_samples=120, batch_size=15, return_samples=True, seed=4, engine=engine,
        show_progress=False,
    )  # fmt: skip
    assert set(ours) == set(expected)
    for key in expected:
        assert set(ours[key]) == set(expected[key])
        for name in expected[key]:
            assert ours[key][name].shape == expected[key][name].shape, (key, name)
    wrong = {
        name: disagreements(ours["posterior_samples"][name], draws)
        for name, draws in expected["posterior_samples"].items()
        if name != "mean"  # scvi-tools mixes global draws of several posteriors in it
    }
    assert not any(wrong.values()), wrong


def test_both_ways_of_calling(local):
    options = {"show_progress": False, "engine": "loop", "seed": 1}
    named = local.sample_posterior(
        adata=local.adata, input_dl=None, indices=None, num_samples=3, return_sites=["weight"],
        accelerator="cpu", device="auto", batch_size=20, return_observed=False,
        return_samples=True, summary_frequency=2, summary_fun=None, exclude_vars=None, model=None,
        **options,
    )  # fmt: skip
    earlier = local.sample_posterior(3, ["weight"], "cpu", "auto", 20, False, True, **options)
    older = local.sample_posterior(
        num_samples=3, return_sites=["weight"], use_gpu=False, return_samples=True, **options
    )
    for posterior in (named, earlier, older):
        assert posterior["posterior_samples"]["weight"].shape == (3, GENES, 1)
        np.testing.assert_array_equal(means(posterior)["weight"], means(named)["weight"])
    rest = local.sample_posterior(num_samples=2, exclude_vars=["weight", "mean"], **options)
    assert set(means(rest)) == {"bias", "sigma", "cell"}
    seen = local.sample_posterior(num_samples=2, return_observed=True, **options)
    assert means(seen)["obs"].shape == (CELLS, 1)
    own = {"means": np.mean, "std": np.std}
    chosen = local.sample_posterior(num_samples=2, summary_fun=own, return_samples=True, **options)
    assert set(chosen) == {"post_sample_means", "post_sample_std", "posterior_samples"}
    assert list(own) == ["means", "std"]


def test_indices_and_their_order(local):
    options = {"num_samples": 2, "show_progress": False, "engine": "loop", "seed": 1}
    options |= {"return_observed": True, "return_sites": ["obs"]}
    every = means(local.sample_posterior(**options))["obs"]
    picked = np.array([7, 7, 30, 2])
    np.testing.assert_allclose(
        means(local.sample_posterior(indices=picked, batch_size=3, **options))["obs"], every[picked]
    )
    mask = np.arange(CELLS) % 3 == 0
    masked = local.sample_posterior(indices=mask, **options)
    np.testing.assert_allclose(means(masked)["obs"], every[mask])
    assert list(masked.coords["obs"]) == list(local.adata.obs_names[mask])
    loader = local._make_data_loader(local.adata, indices=picked[::-1].copy(), batch_size=2)
    np.testing.assert_allclose(
        means(local.sample_posterior(input_dl=loader, **options))["obs"], every[picked[::-1]]
    )
    shuffled = local._make_data_loader(local.adata, shuffle=True, batch_size=10)
    with pytest.raises(RequestError, match="shuffle"):
        local.sample_posterior(input_dl=shuffled, **options)


def test_settings_of_scvi_tools(local, monkeypatch):
    options = {"num_samples": 2, "show_progress": False, "engine": "loop"}
    monkeypatch.setattr(scvi.settings, "batch_size", 20)
    assert local.sample_posterior(**options).plan.batch_sizes == (20, 20, 5)
    monkeypatch.setattr(scvi.settings, "_seed", 17)
    first = local.sample_posterior(**options)
    assert first.seed == 17
    np.testing.assert_array_equal(
        means(first)["cell"], means(local.sample_posterior(**options))["cell"]
    )
    monkeypatch.setattr(scvi.settings, "dl_num_workers", 2)
    workers = local.sample_posterior(**options)
    np.testing.assert_array_equal(means(first)["cell"], means(workers)["cell"])


def test_saved_and_loaded(local, tmp_path):
    """A second model under the same parameter names is loaded before the first one is asked."""
    options = {"num_samples": 3, "show_progress": False, "engine": "loop", "seed": 1}
    expected = means(local.sample_posterior(**options))
    other = RegressionModel(local.adata, per_cell=True)
    seeded(9)
    other.train(max_epochs=3, train_size=1.0, batch_size=16, lr=0.5, **QUIET)
    local.save(str(tmp_path / "first"))
    other.save(str(tmp_path / "second"))
    first = RegressionModel.load(str(tmp_path / "first"), local.adata, accelerator="cpu")
    second = RegressionModel.load(str(tmp_path / "second"), local.adata, accelerator="cpu")
    for name, value in expected.items():
        np.testing.assert_array_equal(means(first.sample_posterior(**options))[name], value)
    assert not np.allclose(means(second.sample_posterior(**options))["weight"], expected["weight"])


def test_backed_data_are_read_batch_by_batch(local, tmp_path, monkeypatch):
    """No read of the matrix in the file takes more rows than a minibatch has."""
    path = tmp_path / "cells.h5ad"
    local.adata.copy().write_h5ad(path)
    local.save(str(tmp_path / "model"))
    options = {"num_samples": 2, "batch_size": 10, "show_progress": False, "seed": 1}
    expected = means(local.sample_posterior(**options, engine="loop"))
    backed = anndata.read_h5ad(path, backed="r")
    model = RegressionModel.load(str(tmp_path / "model"), backed, accelerator="cpu")
    rows = []
    read = h5py.Dataset.__getitem__

    def counting(self, args, **kwargs):
        value = read(self, args, **kwargs)
        if self.name == "/X":
            rows.append(value.shape[0] if np.ndim(value) else 1)
        return value

    monkeypatch.setattr(h5py.Dataset, "__getitem__", counting)
    ours = means(model.sample_posterior(**options, engine="loop"))
    assert 0 < max(rows) <= 10
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)
    assert backed.isbacked


def test_classes_in_use_get_their_methods_back():
    own = {name: TheirRegressionModel.__dict__.get(name) for name in ("sample_posterior", "train")}
    theirs = trained(TheirRegressionModel, True)
    options = {"num_samples": 2, "batch_size": 20}
    with use_in(TheirRegressionModel) as used:
        assert isinstance(used, InUse)
        ours = theirs.sample_posterior(**options, seed=3, engine="loop", show_progress=False)
        again = sample_posterior(theirs, **options, seed=3, engine="loop", show_progress=False)
        np.testing.assert_array_equal(means(ours)["cell"], means(again)["cell"])
    assert own == {name: TheirRegressionModel.__dict__.get(name) for name in own}
    assert type(theirs.sample_posterior(**options)) is dict
    with use_in():
        assert hasattr(theirs.sample_posterior(**options, engine="loop"), "plan")
    assert type(theirs.sample_posterior(**options)) is dict
    with pytest.raises(RequestError, match="no sample_posterior"):
        use_in(dict)
