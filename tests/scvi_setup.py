"""Small data and quiet training for tests of scvi-tools models."""

from __future__ import annotations

import logging

import numpy as np
import torch
from scvi.data import synthetic_iid
from scvi.model.base import PyroSampleMixin as TheirMixin

import scvi
from pyro_posterior.kept import kept_parameters
from pyro_posterior.saved import allow_cell2location

allow_cell2location()

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
scvi.settings.verbosity = logging.ERROR

QUIET = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "logger": False,
}


def counts(cells: int, genes: int):
    """Two batches of synthetic cells with positions, the same in every run."""
    np.random.seed(1)
    adata = synthetic_iid(batch_size=cells // 2, n_genes=genes, generate_coordinates=True)
    adata.obsm["X_spatial"] = adata.obsm["coordinates"]
    return adata


def seeded(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)


def theirs(model, **options):
    """scvi-tools' own `sample_posterior`, with the model's parameters in pyro's store.

    Without, it takes those of whichever model was trained last, and leaves them in the module.
    """
    with kept_parameters(model.module):
        return TheirMixin.sample_posterior(model, **options)
