"""Whether model and guide can be called with what a batch gives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer.autoguide.effect import AutoMessenger
from pyro.infer.autoguide.guides import AutoGuide

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError


def check_arguments(model: Callable[..., Any], guide: Callable[..., Any], first: Minibatch) -> None:
    """Raise where model or guide does not take what a batch gives, naming what would settle it.

    Raises
    ------
    RequestError
        The first minibatch has too many, too few or other arguments.
    """
    if isinstance(model, AutoGuide | AutoMessenger):
        raise RequestError(
            f"model is a {type(model).__name__}, which is a guide: model and guide seem to be "
            "exchanged; call sample_posterior(model, guide, data)"
        )
    for role, function in (("model", model), ("guide", guide)):
        signature = _signature_of(function)
        if signature is None:
            continue
        try:
            signature.bind(*first.args, **first.kwargs)
        except TypeError as error:
            raise RequestError(
                f"the {role} takes {signature}, and a batch gives {_told(first)} ({error}): give "
                "to_args=, a function from a batch to the (args, kwargs) of model and guide, such "
                "as to_args=lambda batch: ((batch[0],), {}); full data of several arguments are a "
                "tuple or dict, while a list is one of batches"
            ) from None


def _signature_of(function: Any) -> inspect.Signature | None:
    """How a callable is called; None where Python cannot tell."""
    called = function.forward if isinstance(function, torch.nn.Module) else function
    try:  # a decorator may give arguments of its own to what it wraps
        return inspect.signature(called, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


def _told(minibatch: Minibatch) -> str:
    given = [_kind(value) for value in minibatch.args]
    named = [f"{name}={_kind(value)}" for name, value in minibatch.kwargs.items()]
    return f"({', '.join(given + named)})"


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)}"
    return type(value).__name__
