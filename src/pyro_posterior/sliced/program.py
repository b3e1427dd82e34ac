"""The sliced program: recorded, checked against the loop, replayed for every chunk and minibatch.

Three tiers give the same numbers: the slice batched over draws, the slice for one draw at a time,
and the loop. Which one draws a minibatch depends on the run and on that minibatch alone, whatever
was drawn before it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from pyro_posterior.contracts import Block, Minibatch, Part, Site
from pyro_posterior.errors import CannotSliceError, RequestError
from pyro_posterior.loop import LoopProgram
from pyro_posterior.sliced.compiled import Compiled, LoopDraw, loop_draws
from pyro_posterior.sliced.courses import Course, Courses, SliceTier, Way, course_of, way_of
from pyro_posterior.sliced.describe import describe
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.signature import signature
from pyro_posterior.sliced.study import Study, study
from pyro_posterior.sliced.terms import Terms, checked_draws

logger = logging.getLogger(__name__)

#: Values of globals kept between minibatches, in bytes; beyond, they are made anew each time.
KEPT_GLOBALS_BYTES = 256 << 20


@dataclass(frozen=True)
class SlicedProgram:
    """``program.parts(minibatch, sites)`` draws a minibatch from the slice that it takes.

    The minibatches that take the course of the first or the last one are drawn in the tier that was
    found right for those. Any other is recorded, and held to the loop's draws, for itself.
    """

    terms: Terms
    sites: tuple[Site, ...]
    ends: tuple[tuple[Course, SliceTier], ...]
    several: bool  # minibatches, so that globals are worth keeping
    strict: bool  # raise where a minibatch needs the loop
    workers: int
    _courses: Courses = field(default_factory=Courses, repr=False, compare=False)
    _one_loop: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def tier(self) -> str:
        """The tier that draws the first minibatch."""
        return self.ends[0][1]

    @property
    def chunk_bytes(self) -> int:
        """What decides how many draws are made at once, the same for the whole run."""
        return self.terms.chunk_bytes

    def parts(self, minibatch: Minibatch, sites: Sequence[Site]) -> list[Part]:
        """A part for each group of sites that share random numbers; one for all under the loop.

        Raises
        ------
        CannotSliceError
            The minibatch needs the loop, which ``engine="sliced"`` excludes.
        """
        instead = self._one_at_a_time(minibatch, sites)
        try:
            with as_reason("looking at"):
                way = self._way(minibatch)
        except CannotSliceError as reason:
            if self.strict:
                raise
            logger.info("drawing minibatch %d with the loop: %s", minibatch.index, reason)
            return [instead]
        wanted = {site.name: site for site in sites}
        found = []
        for (compiled, prologue), names in zip(way.groups, self.terms.groups, strict=True):
            group = tuple(wanted[name] for name in names if name in wanted)
            if group:
                found.append(self._part(way.tier, compiled, prologue, group, minibatch))
        return found

    def _way(self, minibatch: Minibatch) -> Way:
        known = signature(minibatch)
        for course, tier in self.ends:
            if course.serves(minibatch, known):
                compiled = course.sliced.compiled(tier == "batched slice", minibatch)
                way = Way(tier, tuple((each, each.prologue(minibatch)) for each in compiled))
                if minibatch.index == 1:
                    self._look_once_more(course, way, minibatch)
                return way
        sampler = self.terms.sampler
        for course in self._courses:
            if course.serves(minibatch, known):
                self._courses.keep(course)
                return way_of(course, sampler, [(minibatch, self._loop_draws(minibatch))])
        seen = self._study(minibatch)
        at_hand = [course for course, _ in self.ends] + list(self._courses)
        course = course_of(self.terms, seen, known, at_hand)
        if not course.serves(minibatch, known):
            raise CannotSliceError("a guard does not hold on its own minibatch")
        self._courses.keep(course)
        return way_of(course, sampler, [(minibatch, seen.draws)])

    def _look_once_more(self, course: Course, way: Way, minibatch: Minibatch) -> None:
        """Hold a minibatch that was not recorded to the loop.

        Raises
        ------
        RequestError
            Its draws are others, since the model looks at something beside its arguments.
        """
        sampler, found = self.terms.sampler, self._loop_draws(minibatch)[0]
        try:
            for compiled, prologue in way.groups:
                compiled.check(prologue, sampler, minibatch, [found])
            return
        except CannotSliceError as reason:
            differs = reason
        with contextlib.suppress(CannotSliceError):  # rounding alone is no difference
            for compiled in course.sliced.compiled(False, minibatch):
                compiled.check(compiled.prologue(minibatch), sampler, minibatch, [found])
            return
        raise RequestError(
            f"in minibatch {minibatch.index} {differs}: model or guide look at something beside their "
            "arguments that changes from minibatch to minibatch; pass it as an argument, or draw with "
            'engine="loop"'
        )

    def _study(self, minibatch: Minibatch) -> Study:
        terms, draws = self.terms, checked_draws(self.terms.num_samples)
        return study(terms.sampler, terms.names, minibatch, draws, terms.num_samples, None)

    def _loop_draws(self, minibatch: Minibatch) -> list[LoopDraw]:
        draws = checked_draws(self.terms.num_samples)
        return loop_draws(self.terms.sampler, self.terms.names, minibatch, draws)

    # --------------------------------------------------------------------------------- drawing

    def _part(
        self,
        tier: SliceTier,
        compiled: Compiled,
        prologue: tuple[torch.Tensor, ...],
        sites: tuple[Site, ...],
        minibatch: Minibatch,
    ) -> Part:
        sampler = self.terms.sampler
        names = [site.name for site in sites]
        keep = self.several and any(site.scope == "local" for site in self.sites)
        if keep:
            if not compiled.kept:  # the first chunk tells how large the globals are
                compiled.run(prologue, sampler, 0, minibatch.index, keep=True)
            chunks = math.ceil(self.terms.num_samples / compiled.draws_at_once)
            others = sum(x.kept_bytes for x in self._all_compiled() if x is not compiled)
            keep = compiled.globals_bytes() * chunks + others <= KEPT_GLOBALS_BYTES

        def draw(draws: range) -> Block:
            block = compiled.run(prologue, sampler, draws.start, minibatch.index, keep)
            return {name: block[name][: len(draws)] for name in names}

        instead = None if self.strict else self._one_at_a_time(minibatch, sites)
        fixed = frozenset(name for name in names if not compiled.drawn[name])
        return Part(sites, compiled.draws_at_once, draw, tier, fixed, instead)

    def _all_compiled(self) -> list[Compiled]:
        courses = [course for course, _ in self.ends] + list(self._courses)
        sliced = {id(course.sliced): course.sliced for course in courses}
        return [compiled for each in sliced.values() for compiled in each.at_hand()]

    def _one_at_a_time(self, minibatch: Minibatch, sites: Sequence[Site]) -> Part:
        """The loop for one caller at a time: Pyro's handlers are one stack for all threads."""
        (part,) = LoopProgram(self.terms.sampler).parts(minibatch, sites)

        def draw(draws: range) -> Block:
            with self._one_loop:
                return part.draw(draws)

        return replace(part, draw=draw)

    def describe(self) -> str:
        """The graphs as text: what runs, and how much fell away."""
        lines = [
            f"{self.tier}, {self.workers} chunks side by side, {self.chunk_bytes} bytes each",
            self.terms.sampler.spread,
        ]
        for compiled in self._all_compiled():
            lines += ["", f"sites {', '.join(compiled.cut.outputs)}", *describe(compiled)]
        return "\n".join(lines)
