"""From a batch as the caller has it to the arguments of model and guide."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map

from pyro_posterior.data.kinds import as_tensor
from pyro_posterior.errors import RequestError

#: ``to_args(batch) -> (args, kwargs)`` of model and guide.
ToArgs = Callable[[Any], tuple[Sequence[Any], Mapping[str, Any]]]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def default_to_args(batch: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """A tensor is the one argument, a tuple or list the positional, a dict the keyword ones.

    Arrays, DataFrames and other kinds of them become tensors.
    """
    if isinstance(batch, Mapping):
        batch = dict(batch)
    batch = tree_map(as_tensor, batch)
    if isinstance(batch, dict):
        return (), batch
    if isinstance(batch, tuple | list):
        return tuple(batch), {}
    return (batch,), {}


def arguments_of(batch: Any, index: int, to_args: ToArgs | None) -> Arguments:
    """Arguments of model and guide for batch number ``index``.

    ``to_args`` gets a copy, so that it may take keys out of the batch or change it in place.

    Raises
    ------
    RequestError
        ``to_args`` returned something else than a pair of a sequence and a dict.
    """
    try:
        pair = default_to_args(batch) if to_args is None else to_args(copied(batch))
    except RequestError:
        raise
    except Exception as error:
        error.add_note(
            f"while turning minibatch {index} ({type(batch).__name__}) into the model's arguments"
        )
        raise
    try:
        args, kwargs = pair
        if isinstance(args, torch.Tensor | str):
            raise TypeError
        return tuple(args), dict(kwargs)
    except (TypeError, ValueError):
        raise RequestError(
            f"the arguments of minibatch {index} came as {type(pair).__name__}: "
            "to_args(batch) must return (args, kwargs), a sequence and a dict"
        ) from None


def copied(batch: Any) -> Any:
    """A batch with containers, tensors and arrays of its own; only the rows it has are copied."""
    return tree_map(_copied_leaf, batch)


def _copied_leaf(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    try:
        return copy.deepcopy(value)
    except Exception:  # what cannot be copied is handed over as it is
        return value
