"""One joint sample: the guide runs, the model is replayed against it, both under the same keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.subsample_messenger import _Subsample

from pyro_posterior.contracts import Minibatch
from pyro_posterior.keyed.keys import Where
from pyro_posterior.keyed.modes import KeyedDraws, KeyNamer


@contextlib.contextmanager
def no_validation() -> Iterator[None]:
    """Without gradients and without checks of distribution arguments, which cost more than draws."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with pyro.validation_enabled(False), torch.no_grad():
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def is_plate(msg: Any) -> bool:
    """Plates leave a site of their own in a trace: the indices."""
    return isinstance(msg.get("fn"), _Subsample)


@dataclass(frozen=True)
class JointSampler:
    """Guide and model with all that names their random numbers.

    ``sampler.trace(minibatch, draw)`` gives the trace of the replayed model for one draw;
    ``sampler.values(minibatch, draw, names)`` only the values asked for.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    seed: int
    obs_plate: str | None = None
    local_names: frozenset[str] = frozenset()
    cubes: tuple[int, ...] = ()  # lengths of the hypercubes of stratified draws

    def is_local(self, msg: Any) -> bool:
        """Whether draws of this site differ between minibatches."""
        name = msg["name"]
        if name == self.obs_plate or name in self.local_names:
            return True
        return any(frame.name == self.obs_plate for frame in msg["cond_indep_stack"])

    def namer(self) -> KeyNamer:
        return KeyNamer(self.is_local)

    def where(self, draws: range, minibatch: int) -> Where:
        """What random operations need to know beside their keys, for some draws."""
        return Where(self.seed, draws, minibatch, self.cubes)

    def run(self, minibatch: Minibatch) -> tuple[poutine.Trace, poutine.Trace]:
        """Guide trace and replayed model trace, with whatever modes are active outside."""
        guide_trace = poutine.trace(self.guide).get_trace(*minibatch.args, **minibatch.kwargs)
        replayed = poutine.replay(self.model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*minibatch.args, **minibatch.kwargs)
        return guide_trace, model_trace

    def traces(self, minibatch: Minibatch, draw: int) -> tuple[poutine.Trace, poutine.Trace]:
        """Guide trace and replayed model trace of one keyed draw."""
        namer = self.namer()
        keyed = KeyedDraws(namer, self.where(range(draw, draw + 1), minibatch.index))
        with no_validation(), namer, keyed:
            return self.run(minibatch)

    def model_alone(self, minibatch: Minibatch) -> poutine.Trace:
        """Trace of the model without the guide, whose plates are then the model's own."""
        namer = self.namer()
        with no_validation(), namer, KeyedDraws(namer, self.where(range(1), minibatch.index)):
            return poutine.trace(self.model).get_trace(*minibatch.args, **minibatch.kwargs)

    def values(
        self, minibatch: Minibatch, draw: int, names: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """The named values of one keyed draw."""
        _, trace = self.traces(minibatch, draw)
        return {name: trace.nodes[name]["value"].detach() for name in names}
