"""Small trained models of the real packages, made once for all tests of this folder."""

from __future__ import annotations

import warnings

import pytest

pytest.importorskip("scvi", reason="scvi-tools is not installed")

import pyro_posterior
from pyro_posterior.scvi import keep_parameters, use_in
from scvi_setup import QUIET, counts, seeded


def pytest_collection_modifyitems(items):
    """All tests of this folder carry the mark ``scvi``."""
    for item in items:
        if "tests/scvi" in item.nodeid or item.path.parent.name == "scvi":
            item.add_marker(pytest.mark.scvi)
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture
def engine_for_all(engine, monkeypatch):
    """The engine of calls inside the packages' own methods, which pass none."""
    monkeypatch.setattr(pyro_posterior.settings, "engine", engine)
    return engine


@pytest.fixture(scope="session")
def resolvi():
    """A semi-supervised RESOLVI on 50 cells."""
    pytest.importorskip("scanpy")
    from scvi.external import RESOLVI

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = counts(50, 60)
        RESOLVI.setup_anndata(adata, labels_key="labels")
        seeded(0)
        model = RESOLVI(adata, semisupervised=True, n_hidden=16, n_hidden_encoder=16)
        model.train(max_epochs=2, **QUIET)
    keep_parameters(model)
    return model


@pytest.fixture(scope="session")
def reference():
    """cell2location's RegressionModel on 80 cells."""
    pytest.importorskip("cell2location")
    from cell2location.models import RegressionModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = counts(80, 30)
        RegressionModel.setup_anndata(adata, batch_key="batch", labels_key="labels")
        seeded(0)
        model = RegressionModel(adata)
        model.train(max_epochs=40, batch_size=None, **QUIET)
    return model


@pytest.fixture(scope="session")
def cell2location(reference):
    """Cell2location on 90 spots, with signatures from `reference`."""
    from cell2location.models import Cell2location

    with warnings.catch_warnings(), use_in(type(reference)):
        warnings.simplefilter("ignore")
        exported = reference.export_posterior(
            reference.adata.copy(),
            sample_kwargs={"num_samples": 20, "engine": "loop", "show_progress": False},
        )
        signatures = exported.varm["means_per_cluster_mu_fg"].copy()
        signatures.columns = list(reference.factor_names_)
        spots = counts(90, 30)
        Cell2location.setup_anndata(spots, batch_key="batch")
        seeded(0)
        model = Cell2location(
            spots, cell_state_df=signatures, N_cells_per_location=8, detection_alpha=20
        )
        model.train(max_epochs=80, batch_size=None, **QUIET)
    return model
