"""Digests of what a model is given, by which data that changed are told from data that did not."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Minibatch


def digest(minibatch: Minibatch) -> str:
    """32 hexadecimal digits that say all of a minibatch's arguments.

    Equal arguments have equal digests in every process: the structure of tuples and dicts, type,
    shape and bytes of tensors and arrays on any device, and values that are no arrays.
    """
    return digest_of((minibatch.args, dict(minibatch.kwargs)))


def digest_of(value: Any) -> str:
    """The digest of any nest of tuples, lists and dicts."""
    state = hashlib.sha256()
    leaves, structure = tree_flatten(value)
    state.update(str(structure).encode())
    for leaf in leaves:
        _add(state, leaf)
    return state.hexdigest()[:32]


def _add(state: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        _add_tensor(state, value.detach())
    elif isinstance(value, np.ndarray) and value.dtype.kind not in "OV":
        array = np.ascontiguousarray(value)
        state.update(f"array|{array.dtype.str}|{value.shape}|".encode())
        state.update(array.reshape(-1).view(np.uint8).data)
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        state.update(f"{type(value).__name__}|{value!r}|".encode())
    else:
        state.update(f"{type(value).__module__}.{type(value).__qualname__}|".encode())
        try:
            state.update(pickle.dumps(value, protocol=4))
        except Exception:  # a lambda, an open file: it goes by its type
            state.update(getattr(value, "__qualname__", "").encode())


def _add_tensor(state: Any, tensor: torch.Tensor) -> None:
    state.update(f"tensor|{tensor.dtype}|{tuple(tensor.shape)}|{tensor.layout}|".encode())
    for part in _dense_parts(tensor):
        plain = part.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        if plain.numel():
            state.update(plain.view(torch.uint8).numpy().data)  # frees the interpreter's lock


def _dense_parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        return tensor.indices(), tensor.values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)
