"""Sparse tensors over many draws: products as one product, sparse draws as dense ones.

``torch.vmap`` has no form for either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from pyro_posterior.sliced.tensors import is_strided

aten = torch.ops.aten

#: A sparse tensor of draws is made dense where that has no more values than this, or than this
#: share of its places filled.
DENSE_VALUES, FILLED = 100_000, 1 / 16


def with_dense(func: Any) -> Callable[..., Any] | None:
    """The operation where sparse tensors of draws are dense ones, or None where it is the same."""
    if func is aten._sparse_coo_tensor_with_dims_and_tensors.default:
        return _filled
    if func is aten._to_dense.default:
        return lambda x, *args, **kwargs: x.clone()
    return None


def _filled(
    sparse_dim: int, dense_dim: int, size: Any, indices: Any, values: Any, **kwargs: Any
) -> torch.Tensor:
    if math.prod(size) > max(DENSE_VALUES, values.numel() / FILLED):
        raise ValueError(f"a sparse tensor of shape {tuple(size)} is too large to be made dense")
    empty = torch.zeros(tuple(size), dtype=values.dtype, device=values.device)
    return empty.index_put(tuple(indices.unbind(0)), values, accumulate=True)


def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor | None:
    """A sparse matrix times many dense ones, the axis of draws in front; None where it is dense."""
    if is_strided(left):
        return None
    beside = right.movedim(0, 1)
    whole = left @ beside.reshape(len(beside), -1)
    return whole.reshape(len(whole), *beside.shape[1:]).movedim(1, 0)
