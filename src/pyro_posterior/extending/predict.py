"""Prediction: observed sites drawn anew given the joint draw, or what they are on average."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyro_posterior.errors import RequestError
from pyro_posterior.extending.nodes import InPlates, add_site, sites_in
from pyro_posterior.joint import KIND
from pyro_posterior.plates import is_plate

#: What the data are called when the site of their name is predicted.
OBSERVED = "{}_observed"
EXPECTED = "{}_expected"


@dataclass(frozen=True)
class Predict:
    """Draws sites anew under keys of their own, so that no other draw changes.

    Attributes
    ----------
    observed
        Sites with data: their values become predictions, the data a site of their own.
    missing
        Sites without data and without a guide: what the model drew is the prediction.
    drawn
        Whether draws are asked for.
    averaged
        Sites of which the mean of their distribution is.
    """

    observed: tuple[str, ...]
    missing: tuple[str, ...]
    drawn: bool
    averaged: tuple[str, ...]

    def __call__(self, guide_trace: poutine.Trace, model_trace: poutine.Trace) -> None:
        for name in (*self.observed, *self.missing):
            if name not in model_trace.nodes:
                continue
            node = model_trace.nodes[name]
            frames, data = node["cond_indep_stack"], node["value"]
            if name in self.averaged:
                self._add(model_trace, EXPECTED.format(name), mean_of(name, node["fn"]), node)
            if not self.drawn:
                continue
            if name in self.observed:
                self._add(
                    model_trace, OBSERVED.format(name), torch.as_tensor(data), node, "observed"
                )
                with InPlates(frames):
                    node["value"] = pyro.sample(name, node["fn"]).to(torch.as_tensor(data).dtype)
                node["is_observed"] = False
            node["infer"] = {**node["infer"], KIND: "predicted"}

    def _add(
        self,
        trace: poutine.Trace,
        name: str,
        value: torch.Tensor,
        node: Any,
        kind: str = "predicted",
    ) -> None:
        """A site beside ``node``, in the plates of that."""
        add_site(trace, name, value, kind)
        added = trace.nodes[name]
        added["cond_indep_stack"] = node["cond_indep_stack"]
        added["infer"] = {KIND: kind}
        added["fn"] = dist.Delta(value, event_dim=min(node["fn"].event_dim, value.dim()))


def mean_of(name: str, fn: Any) -> torch.Tensor:
    """The mean of a distribution.

    Raises
    ------
    RequestError
        It has none.
    """
    try:
        mean = fn.mean
    except (NotImplementedError, AttributeError) as error:
        raise RequestError(
            f"expected=True: the distribution of {name!r}, {type(fn).__name__}, knows no mean; use "
            "predictive=True and the mean of its draws"
        ) from error
    return torch.as_tensor(mean).expand(fn.shape()).clone()


class Intervene(Messenger):
    """Sets sites to values, whatever the guide draws for them; what comes after follows."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._values:
            value = torch.as_tensor(self._values[msg["name"]])
            fn = msg["fn"]
            shape = tuple(msg["value"].shape) if msg["value"] is not None else tuple(fn.shape())
            try:
                value = (
                    value.to(torch.get_default_dtype()) if value.dtype == torch.float64 else value
                )
                msg["value"] = value.expand(shape)
            except RuntimeError as error:
                raise RequestError(
                    f"do[{msg['name']!r}] has shape {tuple(value.shape)}, which does not fit the "
                    f"site's {shape}"
                ) from error
            msg["is_observed"] = True


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
        for name, parameter in signature.parameters.items():
            lacking = name not in bound.arguments and parameter.default is parameter.empty
            if lacking and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            ):
                kwargs = {**kwargs, name: None}
        return function(*args, **kwargs)

    return called


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
