"""Sites that an extension adds to the model's trace, and what it asks of the sites that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyro_posterior.errors import RequestError
from pyro_posterior.joint import KIND
from pyro_posterior.plates import is_plate

#: Adds sites to the model's trace, given the guide's.
Extension = Callable[[poutine.Trace, poutine.Trace], None]


def add_site(
    trace: poutine.Trace, name: str, value: torch.Tensor, kind: str, frames: tuple[Any, ...] = ()
) -> None:
    """A site computed from the joint draw; with ``frames`` of plates, its last axes are theirs.

    Raises
    ------
    RequestError
        The model has a site of that name.
    """
    if name in trace.nodes:
        raise RequestError(f"the model has a site {name!r} of its own: give another name")
    trace.add_node(
        name,
        name=name,
        type="sample",
        fn=dist.Delta(value, event_dim=0 if frames else value.dim()).mask(False),
        value=value,
        is_observed=True,
        infer={"_deterministic": True, KIND: kind},
        cond_indep_stack=frames,
        args=(),
        kwargs={},
        scale=1.0,
        mask=None,
    )


def sites_in(trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """Names and nodes of all sample statements but plates and what extensions added."""
    for name, node in list(trace.nodes.items()):
        if node["type"] == "sample" and not is_plate(node) and KIND not in node["infer"]:
            yield name, node


def values_in(trace: poutine.Trace) -> Mapping[str, Any]:
    """Values of all sites by name, those of extensions included; plates and factors are none."""
    return {
        name: node["value"]
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not is_plate(node) and not is_factor(node)
    }


def is_factor(node: Any) -> bool:
    """Whether it is a ``pyro.factor``."""
    fn = node["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, dist.Unit)


class InPlates(Messenger):
    """Puts a sample statement back into the plates that its site lies in."""

    def __init__(self, frames: tuple[Any, ...]) -> None:
        super().__init__()
        self._frames = frames

    def _pyro_sample(self, msg: Any) -> None:
        msg["cond_indep_stack"] = self._frames
