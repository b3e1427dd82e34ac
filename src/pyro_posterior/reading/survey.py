"""One pass over the data: which minibatches are alike, which tensors differ, and a run of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from pyro_posterior.collector import old_ones_left_alone
from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.keys import FREE
from pyro_posterior.reading.guards import Guards, guards_of
from pyro_posterior.reading.runs import Run, look
from pyro_posterior.sliced.same import equal_values
from pyro_posterior.sliced.signature import Signature, places_of, signature, tensors_of

#: Minibatches of a kind of their own that are kept, besides the first and the last.
MOST_KEPT = 4

#: Further draws that are looked at where the way through the code depends on draws.
MORE_DRAWS = 16

#: How an argument compares over all minibatches: one and the same tensor, equal values, or neither.
Stays = Literal["same", "equal", "differs"]


#: Shapes of one minibatch's tensors, by their numbers in the first one; None: it lacks the tensor.
Shapes = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True)
class Survey:
    """What one pass over the minibatches showed."""

    first: Minibatch
    last: Minibatch
    kept: tuple[Minibatch, ...]  # the first of each kind, as far as kept, and the last
    runs: tuple[Run, ...]  # the first is of the first minibatch
    more: tuple[Run, ...]  # other draws of the first minibatch, where the way may depend on draws
    kinds: tuple[int, ...]  # number of the run that stands for each minibatch
    stays: tuple[Stays, ...]  # by number of the tensor among the arguments
    shapes: tuple[Shapes, ...]  # by minibatch

    @property
    def changes_data(self) -> bool:
        """Whether some run wrote to its data, so that every run must have its own."""
        return any(run.changes_data for run in self.runs)

    @property
    def computed(self) -> frozenset[str]:
        """Observed sites with other values in other draws: Python computed those from draws."""
        found = set()
        for name in {name for run in self.more for name in run.sites}:
            data = [run.sites[name].data for run in self.more if name in run.sites]
            known = [value for value in data if value is not None]
            if any(not equal_values(known[0], value) for value in known[1:]):
                found.add(name)
        flow = self.runs[0].flow
        if flow is not None:
            found = {name for name in found if FREE not in flow.randomness_of(name)}
        found -= self.runs[0].picks.sites
        return frozenset(found)

    @property
    def several(self) -> bool:
        return len(self.kinds) > 1

    def home(self, site: str) -> int:
        """The first minibatch that was run and has a site."""
        return next(run.minibatch for run in (*self.runs, *self.more) if site in run.sites)

    def without(self, site: str) -> Iterator[int]:
        """Minibatches whose runs lack a site."""
        having = {number for number, run in enumerate(self.runs) if site in run.sites}
        if any(site in run.sites for run in self.more):
            having.add(0)
        return (index for index, kind in enumerate(self.kinds) if kind not in having)

    @property
    def rests_on(self) -> dict[str, frozenset[str]]:
        """By site, those whose random numbers entered it."""
        found: dict[str, frozenset[str]] = {}
        for run in self.runs:
            if run.flow is not None:
                for name in run.sites:
                    found[name] = found.get(name, frozenset()) | run.flow.randomness_of(name)
        return found

    @property
    def may_rest_on(self) -> dict[str, frozenset[str]]:
        """By site, those Python had looked at when it was made: all in an unrecorded run."""
        found: dict[str, frozenset[str]] = {}
        for run in self.runs:
            for name in run.sites:
                known = frozenset(run.sites) if run.flow is None else run.flow.known_to_python(name)
                found[name] = found.get(name, frozenset()) | known
        return found

    @property
    def only_some_draws(self) -> frozenset[str]:
        """Sites that not all draws looked at have, where the way may depend on draws."""
        if not self.more:
            return frozenset()
        runs = (self.runs[0], *self.more)
        everywhere = set(runs[0].sites).intersection(*(run.sites for run in runs[1:]))
        return frozenset({name for run in runs for name in run.sites} - everywhere)


@old_ones_left_alone()
def survey(
    sampler: JointSampler, minibatches: Iterable[Minibatch], *, only_rows: bool = False
) -> Survey:
    """Look at every minibatch, and run guide and model on the first of each kind.

    Two minibatches are of one kind if they differ in nothing but tensors' values and Python
    learnt the same from those. ``only_rows`` says that all tensors were cut from full data, so
    that those with equal values in all minibatches are row data as well.
    """
    runs: list[Run] = []
    kinds: list[int] = []
    shapes: list[Shapes] = []
    kept: list[Minibatch] = []
    known: dict[Signature, list[tuple[int, Guards]]] = {}
    comparing: _Comparing | None = None
    first = last = None
    for minibatch in minibatches:
        first = minibatch if first is None else first
        last = minibatch
        comparing = _Comparing(minibatch) if comparing is None else comparing
        shapes.append(comparing.take(minibatch))
        alike = known.setdefault(signature(minibatch), [])
        number = next((number for number, guards in alike if guards.hold(minibatch)), None)
        if number is None:
            run = look(sampler, minibatch, checked=not runs)
            number = len(runs)
            runs.append(run)
            alike.append((number, guards_of(run.record, run.flow)))
            if len(kept) <= MOST_KEPT:
                kept.append(minibatch)
        kinds.append(number)
    if first is None or last is None or comparing is None:
        raise RequestError("data holds no batches: give at least one observation")
    if last.index != kept[-1].index:
        kept.append(last)
    stays = comparing.stays
    if only_rows and len(kinds) > 1:
        stays = ["differs" if shapes[0][i] else s for i, s in enumerate(stays)]
    more: list[Run] = []
    if runs[0].flow is None or runs[0].flow.reads_draws:
        more = [look(sampler, first, draw, recorded=False) for draw in range(1, 1 + MORE_DRAWS)]
    return Survey(
        first,
        last,
        tuple(kept),
        tuple(runs),
        tuple(more),
        tuple(kinds),
        tuple(stays),
        tuple(shapes),
    )


class _Comparing:
    """How the tensors of minibatches compare with those of the first in the same place."""

    def __init__(self, first: Minibatch) -> None:
        self._places = places_of(first)
        self._first = tensors_of(first)
        self.stays: list[Stays] = ["same"] * len(self._first)

    def take(self, minibatch: Minibatch) -> Shapes:
        given = dict(zip(places_of(minibatch), tensors_of(minibatch), strict=True))
        shapes: list[tuple[int, ...] | None] = []
        for number, place in enumerate(self._places):
            one, other = self._first[number], given.get(place)
            shapes.append(None if other is None else tuple(other.shape))
            if other is None or self.stays[number] == "differs" or _same(one, other):
                continue
            dense = one.layout == other.layout == torch.strided
            self.stays[number] = "equal" if dense and equal_values(one, other) else "differs"
        return tuple(shapes)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one is other or (
        one.layout == other.layout == torch.strided
        and one.shape == other.shape
        and one.stride() == other.stride()
        and one.device == other.device
        and one.dtype == other.dtype
        and one.data_ptr() == other.data_ptr()
        and one.data_ptr() != 0
    )
