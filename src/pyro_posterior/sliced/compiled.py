"""One slice for some sites, as graphs ready to run for any chunk of any minibatch it fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pyro_posterior.contracts import Block, Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.keys import Where
from pyro_posterior.sliced.batching import batch_slice
from pyro_posterior.sliced.checking import agrees
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.graphs import Graphs, build_graphs
from pyro_posterior.sliced.signature import tensors_of
from pyro_posterior.sliced.sizes import chunk_draws
from pyro_posterior.sliced.slicing import Slice, slice_record
from pyro_posterior.sliced.tape import Record
from pyro_posterior.sliced.terms import Terms

#: What the prologue gives for one minibatch.
Prologue = tuple[torch.Tensor, ...]


@dataclass
class Compiled:
    """One slice for the sites of a group."""

    cut: Slice
    graphs: Graphs
    drawn: dict[str, bool]
    chunk: int | None  # None: one draw at a time
    kept: dict[int, tuple[torch.Tensor, ...]] = field(
        default_factory=dict
    )  # globals, by first draw

    def prologue(self, minibatch: Minibatch) -> Prologue:
        """What the draws of a minibatch have in common."""
        with as_reason("replaying"), torch.inference_mode():
            return tuple(self.graphs.prologue(*tensors_of(minibatch)))

    def _globals(self, at: Where, keep: bool) -> tuple[torch.Tensor, ...]:
        held = self.kept.get(at.draws.start)
        if held is None:
            held = self.graphs.globals(at)
            if keep:
                self.kept[at.draws.start] = held
        return held

    def run(
        self,
        prologue: Prologue,
        sampler: JointSampler,
        start: int,
        minibatch: int,
        keep: bool = False,
    ) -> Block:
        """One chunk of draws (one draw where ``chunk`` is None), the draw axis in front."""
        at = sampler.where(range(start, start + self.draws_at_once), minibatch)
        with as_reason("replaying"), torch.inference_mode():
            glob = self._globals(at, keep)
            body = self.graphs.body(at, *prologue, *glob)
            found = {
                "constant": self.graphs.constants,
                "prologue": prologue,
                "globals": glob,
                "body": body,
            }
            block = {}
            for name, (source, position) in self.graphs.sources.items():
                value = found[source][position].resolve_neg().resolve_conj()
                if self.chunk is None or not self.drawn[name]:
                    value = value.expand(self.draws_at_once, *value.shape)
                block[name] = value
            return block

    @property
    def draws_at_once(self) -> int:
        """Draws per call of `run`."""
        return self.chunk or 1

    def check(
        self,
        prologue: Prologue,
        sampler: JointSampler,
        minibatch: Minibatch,
        draws: Sequence[LoopDraw],
    ) -> None:
        """The loop's own draws, with the same keys, must come out.

        Raises
        ------
        CannotSliceError
            A site's value is another.
        """
        start, block = -1, Block()
        for found in sorted(draws, key=lambda found: found.draw):
            row = found.draw % self.draws_at_once
            if start != found.draw - row:
                start = found.draw - row
                block = self.run(prologue, sampler, start, minibatch.index)
            for name in self.cut.outputs:
                if not agrees(block[name][row], found.values[name], exact=self.chunk is None):
                    raise CannotSliceError(
                        f"site {name!r} differs from the loop's draw {found.draw}"
                    )

    @property
    def kept_bytes(self) -> int:
        """Size of the globals kept so far."""
        return len(self.kept) * self.globals_bytes()

    def globals_bytes(self) -> int:
        """Size of one chunk's globals."""
        return sum(x.numel() * x.element_size() for x in next(iter(self.kept.values()), ()))


@dataclass(frozen=True)
class LoopDraw:
    """Values of one draw as the loop makes it."""

    draw: int
    values: dict[str, torch.Tensor]


def loop_draws(
    sampler: JointSampler, names: tuple[str, ...], minibatch: Minibatch, draws: Sequence[int]
) -> list[LoopDraw]:
    """Some draws as the loop makes them."""
    with as_reason("running"):
        return [LoopDraw(draw, sampler.values(minibatch, draw, names)) for draw in draws]


class Sliced:
    """The slice of a recorded draw, compiled for each group of sites when it is first asked for."""

    def __init__(self, terms: Terms, found: Record, cut: Slice) -> None:
        self.cut = cut  # with all sites
        self._terms = terms
        self.cuts = [slice_record(found, names) for names in terms.groups]
        self._ready: dict[bool, Sequence[Compiled] | CannotSliceError] = {}

    def compiled(self, batched: bool, minibatch: Minibatch) -> Sequence[Compiled]:
        """One compiled slice for each group.

        Parameters
        ----------
        batched
            Many draws at once, or one at a time.
        minibatch
            Any that takes the recorded course.

        Raises
        ------
        CannotSliceError
            An operation cannot be batched, or run again.
        """
        if batched not in self._ready:
            try:
                self._ready[batched] = [self._compile(cut, batched, minibatch) for cut in self.cuts]
            except CannotSliceError as reason:
                self._ready[batched] = reason
        ready = self._ready[batched]
        if isinstance(ready, CannotSliceError):
            raise ready
        return ready

    def take(self, batched: bool, ready: Sequence[Compiled]) -> None:
        """Use what need not be compiled, one for each group."""
        self._ready[batched] = ready

    def at_hand(self) -> list[Compiled]:
        """All that has been compiled."""
        found = [x for x in self._ready.values() if not isinstance(x, CannotSliceError)]
        return [compiled for group in found for compiled in group]

    def _compile(self, cut: Slice, batched: bool, minibatch: Minibatch) -> Compiled:
        terms = self._terms
        chunk = chunk_draws(cut, terms) if batched else None
        where = terms.sampler.where(range(chunk or 1), minibatch.index)
        with as_reason("batching" if batched else "replaying"), torch.no_grad():
            found = batch_slice(cut, tensors_of(minibatch), where, chunk)
            return Compiled(cut, build_graphs(found), found.drawn, chunk)
