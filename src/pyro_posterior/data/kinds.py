"""Values that hold one row per observation: how long they are, how they are cut, as tensors.

Tensors and arrays, sparse ones of torch and SciPy, DataFrames and Series, xarray, and whatever else
has a shape, can be cut along its first axis and turned into an array. No package is imported for it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from pyro_posterior.errors import RequestError


def is_rows(value: Any) -> bool:
    """Whether a value is an array of some kind, dense or sparse, with or without labels."""
    if isinstance(value, torch.Tensor | np.ndarray) or is_anndata(value) or _is_table(value):
        return True
    arrayed = hasattr(value, "__array__") or hasattr(value, "toarray")
    return arrayed and hasattr(value, "shape") and not isinstance(value, np.generic)


def is_anndata(value: Any) -> bool:
    """Whether a value is an AnnData, of which only the caller knows what the model wants."""
    anndata = sys.modules.get("anndata")
    return anndata is not None and isinstance(value, anndata.AnnData)


def _is_table(value: Any) -> bool:
    """DataFrames and Series of pandas, whose rows are cut by position."""
    return hasattr(value, "iloc") and hasattr(value, "to_numpy")


def in_memory(value: Any) -> bool:
    """Whether a value cannot change from one reading to the next."""
    return isinstance(value, torch.Tensor | np.ndarray | int | float | str | None)


def length(value: Any) -> int | None:
    """Rows of a value along its first axis; None where it has none."""
    if not is_rows(value):
        return None
    shape = tuple(value.shape)
    return int(shape[0]) if shape else None


def cut(value: Any, low: int, high: int) -> Any:
    """Rows ``low`` to ``high`` of a value of any kind; values without rows as they are."""
    if length(value) is None:
        return value
    if isinstance(value, torch.Tensor) and value.layout != torch.strided:
        return _cut_sparse(value, low, high)
    if _is_table(value):
        return value.iloc[low:high]
    if hasattr(value, "toarray") and not hasattr(value, "indptr"):
        value = value.tocsr()  # SciPy's other formats cannot be cut
    return value[low:high]


def _cut_sparse(value: torch.Tensor, low: int, high: int) -> torch.Tensor:
    rows = torch.arange(low, min(high, len(value)), device=value.device)
    found = value.to_sparse_coo().index_select(0, rows)
    return found if value.layout == torch.sparse_coo else found.to_sparse(layout=value.layout)


def as_tensor(value: Any) -> Any:
    """Arrays of every kind as tensors with their dtype; what is no array as it is.

    Raises
    ------
    RequestError
        An array of something else than numbers, or an AnnData.
    """
    if isinstance(value, torch.Tensor):
        if value.is_nested:
            raise RequestError(
                "data holds a nested tensor, whose rows have lengths of their own: give "
                "torch.nested.to_padded_tensor(x, 0.0) and the lengths as tensors"
            )
        return value
    if not is_rows(value):
        return value
    if is_anndata(value):
        raise RequestError(
            "data is an AnnData, of which only you know what the model takes: pass its arrays, "
            "such as (adata.X, ...), or to_args=lambda part: ((torch.tensor(part.X), ...), {}); a "
            "trained scvi-tools model goes to pyro_posterior.scvi.sample_posterior"
        )
    if isinstance(value, np.ma.MaskedArray):
        if hidden := int(np.ma.count_masked(value)):
            raise RequestError(
                f"data holds a masked array with {hidden} masked values, which a tensor would show: "
                "give array.filled(value), and its mask as an argument of its own if the model "
                "needs it"
            )
        value = value.filled()
    if hasattr(value, "toarray"):
        value = value.toarray()  # one minibatch of it at a time
    array = np.asarray(value.to_numpy() if _is_table(value) else value)
    if array.dtype.kind not in "biufc":
        raise RequestError(
            f"data holds a {type(value).__name__} of {array.dtype} where the model needs numbers: "
            "give numbers (codes of categories), or to_args=, a function from a batch to the "
            "model's (args, kwargs)"
        )
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
