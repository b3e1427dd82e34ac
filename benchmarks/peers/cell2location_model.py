"""cell2location 0.1.5 on simulated counts, as both sides draw from it."""

from __future__ import annotations

import operator
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyro.infer.autoguide.utils
import torch

# cell2location imports a helper that pyro-ppl 1.9.2 no longer has.
if not hasattr(pyro.infer.autoguide.utils, "deep_getattr"):
    pyro.infer.autoguide.utils.deep_getattr = lambda obj, name: operator.attrgetter(name)(obj)

from cell2location.models import Cell2location

ROWS_AT_ONCE = 4000


def make_cell2location(observations: int, genes: int, factors: int, batch_size: int) -> Any:
    """The model with its guide set up on one minibatch; what a draw costs does not need a fit."""
    rng = np.random.default_rng(0)
    signatures = rng.gamma(1.0, 1.0, (genes, factors)).astype("float32")
    counts = np.empty((observations, genes), "float32")
    for low in range(0, observations, ROWS_AT_ONCE):
        rows = counts[low : low + ROWS_AT_ONCE]
        abundance = rng.gamma(0.5, 1.0, (len(rows), factors)).astype("float32")
        rows[:] = rng.poisson(0.3 * abundance @ signatures.T)
    data = anndata.AnnData(counts)
    data.var_names = [f"gene{i}" for i in range(genes)]
    data.obs_names = [f"spot{i}" for i in range(observations)]
    names = [f"type{i}" for i in range(factors)]
    Cell2location.setup_anndata(data)
    model = Cell2location(data, pd.DataFrame(signatures, data.var_names, names))
    loader = model._make_data_loader(
        adata=data, indices=np.arange(observations), batch_size=batch_size, shuffle=False
    )
    args, kwargs = model.module._get_fn_args_from_batch(next(iter(loader)))
    with torch.no_grad():
        model.module.guide(*args, **kwargs)
    model.module.eval()
    model.is_trained_ = True
    return model
