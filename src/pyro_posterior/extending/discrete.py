"""Discrete sites that the fit summed out, drawn given each joint draw, and their probabilities.

`pyro.infer.infer_discrete` runs the model once with all values of these sites side by side, and draws
them from their exact distribution given the data and all that the guide drew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate, infer_discrete
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.nodes import InPlates, sites_in
from pyro_posterior.joint import KIND

PROBABILITIES = "{}_probs"


@dataclass(frozen=True)
class DrawDiscrete:
    """Wraps a model replayed against the guide: the sites are drawn, their probabilities added.

    Attributes
    ----------
    names
        The sites.
    nesting
        How many axes the model's plates take.
    temperature
        1 draws, 0 takes the values that are most probable together.
    """

    names: tuple[str, ...]
    nesting: int
    temperature: int

    def __call__(self, replayed: Callable[..., Any]) -> Callable[..., Any]:
        marked = config_enumerate(replayed, "parallel")
        first_dim = -1 - self.nesting
        drawing = infer_discrete(marked, first_dim, self.temperature)

        def called(*args: Any, **kwargs: Any) -> Any:
            with _AllRows(self.names):
                trace = poutine.trace(drawing).get_trace(*args, **kwargs)
            with poutine.block(), EnumMessenger(first_dim):
                enumerated = poutine.trace(marked).get_trace(*args, **kwargs)
            for name, probabilities in _probabilities(enumerated, self.names).items():
                node = trace.nodes[name]
                shape = (*torch.as_tensor(node["value"]).shape, probabilities.shape[-1])
                while probabilities.dim() > len(shape):
                    probabilities = probabilities.squeeze(0)
                whole = probabilities.expand(shape)
                with InPlates(node["cond_indep_stack"]):
                    pyro.sample(
                        PROBABILITIES.format(name),
                        dist.Delta(whole, event_dim=1).mask(False),
                        obs=whole,
                        infer={"_deterministic": True, KIND: "derived"},
                    )
            return trace.nodes["_RETURN"]["value"]

        return called


class _AllRows(Messenger):
    """Gives drawn values the axes of their plates, which Pyro leaves out where they have one row."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self._names or msg["value"] is None:
            return
        frames = [frame for frame in msg["cond_indep_stack"] if frame.vectorized]
        value = msg["value"]
        shape = [1] * max((-frame.dim for frame in frames), default=0)
        for frame in frames:
            shape[frame.dim] = frame.size
        msg["value"] = value.expand(torch.broadcast_shapes(tuple(shape), value.shape))


def _probabilities(trace: poutine.Trace, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Of each value of these sites, along a last axis, in a trace of all values side by side."""
    trace = prune_subsample_sites(trace)
    trace.compute_log_prob()
    trace.pack_tensors()
    factors: OrderedDict[frozenset[str], list[torch.Tensor]] = OrderedDict()
    sum_dims: set[str] = set()
    for node in trace.nodes.values():
        if node["type"] == "sample":
            plates, packed_node = _plates(trace, node), node["packed"]
            term = packed.scale_and_mask(packed_node["unscaled_log_prob"], mask=packed_node["mask"])
            sum_dims.update(frozenset(term._pyro_dims) - plates)
            if not sum_dims.isdisjoint(term._pyro_dims):
                factors.setdefault(plates, []).append(term)
    found = {}
    for name in names:
        node = trace.nodes[name]
        dim, symbol = node["infer"]["_enumerate_dim"], node["infer"]["_enumerate_symbol"]
        logits = contract_to_tensor(
            factors, sum_dims, target_ordinal=_plates(trace, node), target_dims={symbol}
        )
        logits = packed.unpack(logits, trace.symbol_to_dim)
        found[name] = logits.unsqueeze(-1).transpose(-1, dim - 1).softmax(-1)
    return found


def _plates(trace: poutine.Trace, node: Any) -> frozenset[str]:
    """Symbols of the plates of a site, those of one row left out: no tensor has them."""
    return frozenset(
        trace.plate_to_symbol[frame.name]
        for frame in node["cond_indep_stack"]
        if frame.vectorized and frame.size > 1
    )


def discrete_of(guide_trace: poutine.Trace, model_trace: poutine.Trace, mode: bool) -> DrawDiscrete:
    """What is drawn so, of a model run alone.

    Raises
    ------
    RequestError
        The guide lacks no discrete site, or lacks others, too.
    """
    lacking = {
        name: node
        for name, node in sites_in(model_trace)
        if name not in guide_trace.nodes
        and not node["is_observed"]
        and not node["infer"].get("_deterministic")
    }
    names = [name for name, node in lacking.items() if node["fn"].has_enumerate_support]
    others = sorted(set(lacking) - set(names))
    if others:
        raise RequestError(
            f"infer_discrete=: {', '.join(map(repr, others))} has neither data nor values from the "
            "guide, and no finite number of values to sum over: give the data, or add it to the "
            "guide"
        )
    if not names:
        raise RequestError(
            "infer_discrete=: the guide gives all latent sites of the model, so no discrete one is "
            "left to draw"
        )
    for name in names:
        if model_trace.nodes[name]["fn"].event_dim:
            raise RequestError(
                f"infer_discrete=: {name!r} has a distribution over several values at once "
                f"({type(model_trace.nodes[name]['fn']).__name__}), of which the probabilities of "
                "single ones are not told; use a Categorical or Bernoulli"
            )
    depths = [
        -frame.dim
        for _, node in sites_in(model_trace)
        for frame in node["cond_indep_stack"]
        if frame.dim is not None
    ]
    return DrawDiscrete(tuple(names), max(depths, default=0), 0 if mode else 1)


def check_local(names: Iterable[str], sites: Iterable[Site]) -> None:
    """Raise where a discrete site has no row per observation, for data in minibatches.

    Raises
    ------
    RequestError
        Its distribution depends on all observations, of which each minibatch has some.
    """
    of_all = [site.name for site in sites if site.name in set(names) and site.batch_axis is None]
    if of_all:
        raise RequestError(
            f"infer_discrete=: {', '.join(map(repr, of_all))} has no row per observation, so its "
            "distribution depends on all of them: pass all data in one call (no batch_size)"
        )
