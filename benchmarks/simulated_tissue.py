"""Single cells of known types and spots that mix them, as cell2location's tutorial needs them."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd


def signatures(genes: int, types: int, rng: np.random.Generator) -> pd.DataFrame:
    """Mean counts per gene ``(gene, type)``; a tenth of the genes mark one type each."""
    base = rng.gamma(0.7, 0.6, size=(genes, 1)) * rng.gamma(8, 1 / 8, size=(genes, types))
    markers = rng.choice(genes, genes // 10, replace=False)
    base[markers, rng.integers(types, size=len(markers))] *= 8
    return pd.DataFrame(
        base + 0.01,
        index=[f"gene_{i}" for i in range(genes)],
        columns=[f"type_{i}" for i in range(types)],
    )


def single_cells(means: pd.DataFrame, cells: int, rng: np.random.Generator) -> anndata.AnnData:
    """Reference cells in two batches, with ``obs["type"]`` and ``obs["batch"]``."""
    type_of = rng.integers(means.shape[1], size=cells)
    expected = means.to_numpy().T[type_of] * rng.gamma(10, 0.1, size=(cells, 1))
    adata = _counts(expected, means.index, rng)
    adata.obs["type"] = pd.Categorical(means.columns[type_of])
    return adata


def spots(means: pd.DataFrame, number: int, rng: np.random.Generator) -> anndata.AnnData:
    """Spots in two batches, about eight cells each; the truth is in ``obsm["abundance"]``."""
    abundance = rng.gamma(0.3, 8 / 0.3 / means.shape[1], size=(number, means.shape[1]))
    expected = abundance @ means.to_numpy().T * rng.gamma(10, 0.1, size=(number, 1))
    adata = _counts(expected + 0.05, means.index, rng)
    adata.obsm["abundance"] = pd.DataFrame(abundance, index=adata.obs_names, columns=means.columns)
    return adata


def _counts(expected: np.ndarray, genes: pd.Index, rng: np.random.Generator) -> anndata.AnnData:
    adata = anndata.AnnData(rng.poisson(expected).astype("float32"))
    adata.var_names = genes
    adata.obs["batch"] = pd.Categorical(np.where(np.arange(len(expected)) % 2, "b", "a"))
    return adata
