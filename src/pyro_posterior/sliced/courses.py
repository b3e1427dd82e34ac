"""Courses: the ways that minibatches take through guide and model, and the programs for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.compiled import Compiled, LoopDraw, Prologue, Sliced
from pyro_posterior.sliced.guards import Guards, guards_of
from pyro_posterior.sliced.same import same_slice
from pyro_posterior.sliced.signature import Signature, contents_of, tensors_of
from pyro_posterior.sliced.study import Study
from pyro_posterior.sliced.terms import Terms

SliceTier = Literal["batched slice", "unbatched slice"]

#: Courses at hand beside those of the first and last minibatch; others are recorded again.
MOST_COURSES = 16


@dataclass(frozen=True)
class Course:
    """What minibatches have in common that one recording serves."""

    signature: Signature
    guards: Guards
    only: (
        tuple[int, tuple[str, ...]] | None
    )  # the one minibatch it serves, where it serves no other
    sliced: Sliced

    def serves(self, minibatch: Minibatch, known: Signature) -> bool:
        """Whether a minibatch (of signature ``known``) takes this course."""
        if known != self.signature:
            return False
        if self.only is not None and self.only != (minibatch.index, contents_of(minibatch)):
            return False
        return self.guards.hold(tensors_of(minibatch))


@dataclass(frozen=True)
class Way:
    """How one minibatch is drawn: a compiled slice with its prologue for each group of sites."""

    tier: SliceTier
    groups: tuple[tuple[Compiled, Prologue], ...]
    reason: str = ""  # why no faster tier


class Courses:
    """The courses used last. What it has forgotten is made again, with the same numbers."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, Course] = OrderedDict()

    def __iter__(self) -> Iterator[Course]:
        return iter(list(self._held.values()))

    def keep(self, course: Course) -> None:
        """Hold a course that was just used."""
        self._held[id(course)] = course
        self._held.move_to_end(id(course))
        while len(self._held) > MOST_COURSES:
            self._held.popitem(last=False)


def course_of(terms: Terms, seen: Study, known: Signature, others: Sequence[Course]) -> Course:
    """The course that a studied minibatch takes; with the slice of another where it is the same."""
    own = (seen.minibatch.index, contents_of(seen.minibatch)) if seen.own else None
    for other in others:
        if known == other.signature and not same_slice(other.sliced.cut, seen.cut):
            return Course(known, guards_of(seen.cut), own, other.sliced)
    return Course(known, guards_of(seen.cut), own, Sliced(terms, seen.record, seen.cut))


def way_of(
    course: Course,
    sampler: JointSampler,
    minibatches: Sequence[tuple[Minibatch, Sequence[LoopDraw]]],
) -> Way:
    """The fastest tier that gives the loop's draws of some minibatches of one course.

    Gives it for the first of them.

    Raises
    ------
    CannotSliceError
        None does, with the reason of the last one tried.
    """
    tiers: tuple[SliceTier, ...] = ("batched slice", "unbatched slice")
    first, reasons = minibatches[0][0], list[str]()
    for tier in tiers:
        try:
            compiled = course.sliced.compiled(tier == "batched slice", first)
            ways = []
            for minibatch, draws in minibatches:
                groups = tuple((each, each.prologue(minibatch)) for each in compiled)
                for each, prologue in groups:
                    each.check(prologue, sampler, minibatch, draws)
                ways.append(Way(tier, groups, "; ".join(reasons)))
            return ways[0]
        except CannotSliceError as reason:
            last = reason
            reasons.append(str(reason))
    raise last
