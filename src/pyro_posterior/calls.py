"""Whether model and guide can be called as asked: with these arguments, and each in its own part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide.effect import AutoMessenger
from pyro.infer.autoguide.guides import AutoGuide

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import is_plate


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


def check_parts(guide_trace: poutine.Trace, trace: poutine.Trace) -> None:
    """Raise where what came as guide is the model: it has observed sites, and the model has none.

    Parameters
    ----------
    guide_trace, trace
        Of the guide, and of the model replayed against it.
    """
    theirs, own = _observed(guide_trace.nodes), _observed(trace.nodes)
    if theirs and not own:
        raise RequestError(
            f"the guide observes {theirs[0]!r} and the model observes nothing: model and guide seem "
            "to be exchanged; call sample_posterior(model, guide, data)"
        )


def _observed(nodes: Mapping[str, Any]) -> list[str]:
    return [name for name, node in nodes.items() if node["type"] == "sample" and _is_data(node)]


def _is_data(node: Any) -> bool:
    fn, infer = node["fn"], node["infer"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if is_plate(node) or isinstance(fn, dist.Unit):  # the indices of a plate, or a factor
        return False
    made = infer.get("_deterministic") or infer.get("is_auxiliary")
    return bool(node["is_observed"]) and not made
