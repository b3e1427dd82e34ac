"""Calls without the outcome, and guides that were fitted to other observations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from pyro import poutine

from pyro_posterior.errors import RequestError
from pyro_posterior.extending.nodes import sites_in
from pyro_posterior.plates import is_plate


def with_missing_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, called with None for required arguments that the data do not give."""
    target = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return function

    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind_partial(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)
        lacking = [
            name
            for name, parameter in signature.parameters.items()
            if name not in bound.arguments
            and parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        if not lacking:
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs, **dict.fromkeys(lacking))
        except Exception as error:
            error.add_note(
                f"{getattr(target, '__name__', type(target).__name__)} was called with None for "
                f"{', '.join(map(repr, lacking))}, which the data do not give: pass it, or have "
                "the function go without (a guide that reads the outcome leaves out the sites "
                "that need it, and they are drawn from the model)"
            )
            raise

    return called


def check_data(trace: poutine.Trace, observed: Iterable[str]) -> None:
    """Raise where data do not fit the plates of their site, as Pyro does in a fit.

    Raises
    ------
    RequestError
        Data and distribution have other shapes, and broadcasting would make more values of them.
    """
    for name in observed:
        node = trace.nodes[name]
        frames = [frame for frame in node["cond_indep_stack"] if frame.vectorized]
        if not frames:
            continue
        fn, shape = node["fn"], tuple(torch.as_tensor(node["value"]).shape)
        wanted = [1] * max(-frame.dim for frame in frames)
        for frame in frames:
            wanted[frame.dim] = frame.size
        try:
            found = torch.broadcast_shapes(shape[: len(shape) - fn.event_dim], fn.batch_shape)
        except RuntimeError:
            found = None
        if found is None or tuple(found) != tuple([1] * (len(found) - len(wanted)) + wanted):
            plates = ", ".join(f"{frame.name!r} of {frame.size}" for frame in frames)
            raise RequestError(
                f"the data of {name!r} have shape {shape}, but its distribution has "
                f"{tuple(fn.shape())} in the plates {plates}: give data of that shape"
            )


def unfitting(guide_trace: poutine.Trace, model_trace: poutine.Trace) -> frozenset[str]:
    """Sites and plates of which the guide has other shapes than the model, run alone."""
    found = set()
    for name, node in model_trace.nodes.items():
        both = node["type"] == "sample" and is_plate(node) and name in guide_trace.nodes
        if both and len(guide_trace.nodes[name]["value"]) != len(node["value"]):
            found.add(name)
    for name, node in sites_in(model_trace):
        if name in guide_trace.nodes and not node["is_observed"]:
            ours, theirs = guide_trace.nodes[name]["value"], node["value"]
            if tuple(ours.shape) != tuple(theirs.shape):
                found.add(name)
    return frozenset(found)
