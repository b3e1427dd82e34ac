"""One joint sample: the guide runs, the model is replayed against it, both under the same keys."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch.utils._pytree import tree_map

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.exchanged import check_parts
from pyro_posterior.keyed.keys import Where
from pyro_posterior.keyed.modes import KeyedDraws, KeyNamer
from pyro_posterior.keyed.unlooking import unlooking
from pyro_posterior.plates import PermutedRows, is_plate
from pyro_posterior.raised import naming

#: Key in a node's ``infer`` for the kind of a site that an extension made.
KIND = "_pyro_posterior_kind"


@contextlib.contextmanager
def no_validation() -> Iterator[None]:
    """Without gradients and without looking at arguments or draws, which costs more than draws."""
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with pyro.validation_enabled(False), torch.no_grad(), unlooking():
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def copied(minibatch: Minibatch) -> Minibatch:
    """The same minibatch in memory of its own; what is given twice is given twice again."""
    made: dict[int, Any] = {}

    def copy(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return made.setdefault(id(value), value.clone())
        return made.setdefault(id(value), value.copy()) if isinstance(value, np.ndarray) else value

    args, kwargs = tree_map(copy, (tuple(minibatch.args), dict(minibatch.kwargs)))
    return Minibatch(minibatch.index, args, kwargs)


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
    local_names: frozenset[str] = frozenset()  # of sites and plates
    known: frozenset[str] | None = None  # sites that may be met; None: whichever
    cubes: tuple[int, ...] = ()  # lengths of the hypercubes of stratified draws
    extensions: tuple[Callable[[poutine.Trace, poutine.Trace], None], ...] = ()  # add sites
    from_model: frozenset[str] = frozenset()  # sites for which the guide is not asked
    around: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None  # the replayed model
    others: int = 0  # for other numbers than those of the run outside sites
    copies: bool = False  # every run has data of its own, which it may change

    def is_local(self, msg: Any) -> bool:
        """Whether draws of this site differ between minibatches."""
        names = (msg["name"], *(frame.name for frame in msg["cond_indep_stack"]))
        return any(self.names_local(name) for name in names)

    def names_local(self, name: str) -> bool:
        """Whether a site, or the sites in a plate, of this name differ between minibatches."""
        return name == self.obs_plate or name in self.local_names

    def namer(self) -> KeyNamer:
        return KeyNamer(self.is_local, self.others)

    @property
    def spread(self) -> str:
        """How draws depend on each other, in words."""
        if not self.cubes:
            return "independent draws"
        lengths = " + ".join(map(str, self.cubes))
        return f"stratified draws, hypercubes of {lengths}; binomial and the like independent"

    def where(self, draws: range, minibatch: int) -> Where:
        """What random operations need to know beside their keys, for some draws."""
        return Where(self.seed, draws, minibatch, self.cubes)

    def run(self, minibatch: Minibatch) -> tuple[poutine.Trace, poutine.Trace]:
        """Guide trace and replayed model trace, with whatever modes are active outside."""
        minibatch = copied(minibatch) if self.copies else minibatch
        with PermutedRows(), naming("guide", minibatch):
            guide_trace = poutine.trace(self.guide).get_trace(*minibatch.args, **minibatch.kwargs)
        for name in self.from_model & set(guide_trace.nodes):
            guide_trace.remove_node(name)
        replayed = poutine.replay(self.model, trace=guide_trace)
        replayed = replayed if self.around is None else self.around(replayed)
        with PermutedRows(), naming("model", minibatch):
            model_trace = poutine.trace(replayed).get_trace(*minibatch.args, **minibatch.kwargs)
        check_parts(guide_trace, model_trace)
        for extend in self.extensions:
            extend(guide_trace, model_trace)
        return guide_trace, model_trace

    def traces(self, minibatch: Minibatch, draw: int) -> tuple[poutine.Trace, poutine.Trace]:
        """Guide trace and replayed model trace of one keyed draw."""
        namer = self.namer()
        keyed = KeyedDraws(namer, self.where(range(draw, draw + 1), minibatch.index))
        self.seed_python(draw, minibatch)
        with no_validation(), namer, keyed:
            return self.run(minibatch)

    def seed_python(self, draw: int, minibatch: Minibatch) -> None:
        """Give Python's and NumPy's random numbers of one draw their place among the keyed ones."""
        text = f"{self.seed}|python|{draw}|{minibatch.index}"
        text = f"{text}|{self.others}" if self.others else text
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
        random.seed(number)
        np.random.seed(number)

    def values(
        self, minibatch: Minibatch, draw: int, names: tuple[str, ...]
    ) -> dict[str, torch.Tensor]:
        """The named values of one keyed draw.

        Raises
        ------
        RequestError
            The draw lacks one of the sites, or has one that no run before it had.
        """
        _, trace = self.traces(minibatch, draw)
        found = {name for name, node in trace.nodes.items() if node["type"] == "sample"}
        lacking = sorted(set(names) - found)
        if lacking:
            raise RequestError(
                f"draw {draw} of minibatch {minibatch.index} has no site {lacking[0]!r}: which "
                "sites the model has depends on its draws. Leave it out with "
                f"exclude_sites=[{lacking[0]!r}]"
            )
        if self.known is not None:
            for name in sorted(found - self.known):
                if not is_plate(trace.nodes[name]):
                    raise RequestError(
                        f"draw {draw} of minibatch {minibatch.index} has a site {name!r} that the "
                        "draws looked at before had not: which sites the model has depends on its "
                        "draws. Name those wanted with return_sites="
                    )
        return {name: trace.nodes[name]["value"].detach() for name in names}
