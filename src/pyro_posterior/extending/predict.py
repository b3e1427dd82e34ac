"""Prediction: observed sites drawn anew given the joint draw, or what they are on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from pyro_posterior.errors import RequestError
from pyro_posterior.extending.nodes import InPlates, add_site
from pyro_posterior.joint import KIND

#: What the data are called when the site of their name is predicted.
OBSERVED = "{}_observed"
EXPECTED = "{}_expected"

#: Key in a node's ``infer`` for the data of a site that was drawn anew in place.
DATA = "_pyro_posterior_data"


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
            frames = node["cond_indep_stack"]
            data = node["infer"].get(DATA, node["value"])
            if name in self.averaged:
                self._add(model_trace, EXPECTED.format(name), mean_of(name, node["fn"]), node)
            if not self.drawn:
                continue
            if name in self.observed:
                self._add(
                    model_trace, OBSERVED.format(name), torch.as_tensor(data), node, "observed"
                )
                if DATA not in node["infer"]:
                    with InPlates(frames):
                        node["value"] = like_data(pyro.sample(name, node["fn"]), node["fn"], data)
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


def check_mean(name: str, fn: Any) -> None:
    """Raise where a distribution has no mean that is a number.

    Raises
    ------
    RequestError
        It has none, as a categorical or a Cauchy distribution.
    """
    mean = mean_of(name, fn)
    if mean.numel() and bool(mean.isnan().all()):
        raise RequestError(
            f"expected=True: the mean of {name!r} is not a number (its distribution is a "
            f"{type(fn).__name__}); use predictive=True, and summaries such as 'mode' or "
            "'prob=1' of its draws"
        )


def like_data(drawn: torch.Tensor, fn: Any, data: Any) -> torch.Tensor:
    """Whole numbers of a discrete distribution as the data have them, 32 bits or more; else as is."""
    dtype = torch.as_tensor(data).dtype
    whole = not dtype.is_floating_point and not dtype.is_complex and is_discrete(fn)
    if not whole or (dtype == torch.bool and drawn.dtype == torch.bool):
        return drawn
    if dtype == torch.bool:
        return drawn.to(dtype)
    return drawn.to(dtype if dtype.itemsize > 2 else torch.int32)


def is_discrete(fn: Any) -> bool:
    """Whether a distribution's support is known to be discrete."""
    try:
        return bool(fn.support.is_discrete)
    except (NotImplementedError, AttributeError):
        return False
