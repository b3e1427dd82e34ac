"""Making a sliced program: from the first and the last minibatch, all at once."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from pyro_posterior.collector import old_ones_left_alone
from pyro_posterior.contracts import Minibatch, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.again import Before, keep, made_again
from pyro_posterior.sliced.courses import Course, SliceTier, course_of, way_of
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.program import SlicedProgram
from pyro_posterior.sliced.same import same_slice
from pyro_posterior.sliced.signature import signature
from pyro_posterior.sliced.sizes import chunk_bytes
from pyro_posterior.sliced.skips import Skips
from pyro_posterior.sliced.slicing import slice_record
from pyro_posterior.sliced.study import Study, study
from pyro_posterior.sliced.tape import Record
from pyro_posterior.sliced.terms import Terms, checked_draws
from pyro_posterior.sliced.together import drawn_together

logger = logging.getLogger(__name__)


@old_ones_left_alone()
def build_sliced(
    sampler: JointSampler,
    ends: tuple[Minibatch, Minibatch],
    sites: Sequence[Site],
    num_samples: int,
    *,
    device: torch.device,
    strict: bool = False,
    seen: Record | None = None,
    chunk: int = 0,
) -> SlicedProgram:
    """Record, slice, batch and check on the first and the last minibatch.

    Parameters
    ----------
    sampler
        Guide and model with their keys.
    ends
        The first and the last minibatch; the same where there is one.
    sites
        All sites that will be asked for.
    num_samples
        Number of draws of the run.
    device
        Where the draws are made.
    strict
        Raise where a later minibatch needs the loop, instead of using it.
    seen
        A record of the first minibatch from before the sites were known.
    chunk
        Bytes of random numbers in a chunk, as an earlier run reported them (`SlicedProgram.chunk_bytes`);
        0: as suits the machine.

    Raises
    ------
    CannotSliceError
        With the reason why only the loop gives this model's numbers.
    MemoryRanOutError
        A draw of the first or last minibatch does not fit into memory.
    """
    names = tuple(site.name for site in sites)
    terms = Terms(sampler, names, (), num_samples, device, chunk or chunk_bytes(device))
    cut = None
    if seen is not None:
        with contextlib.suppress(CannotSliceError):  # said below
            cut = slice_record(seen, names)
    before = None if seen is None or cut is None else Before(seen, cut)
    made = None if before is None else made_again(terms, sites, ends, before)
    if made is None:
        made = _made(terms, sites, ends, before)
    terms, courses = made
    fewest = num_samples
    for course, tier in courses:
        ready = course.sliced.compiled(tier == "batched slice", ends[0])
        fewest = min(fewest, *(compiled.draws_at_once for compiled in ready))
    workers = torch.get_num_threads() if device.type == "cpu" else 1
    return SlicedProgram(
        terms=terms,
        sites=tuple(sites),
        ends=tuple(courses),
        several=ends[0].index != ends[1].index,
        strict=strict,
        workers=max(1, min(workers, math.ceil(num_samples / fewest))),
    )


def _made(
    terms: Terms, sites: Sequence[Site], ends: tuple[Minibatch, Minibatch], before: Before | None
) -> tuple[Terms, list[tuple[Course, SliceTier]]]:
    """The courses of the first and the last minibatch, from recordings; kept for the next call."""
    first, last = ends
    several = last.index != first.index
    draws = checked_draws(terms.num_samples, middle=not several)
    look = functools.partial(study, terms.sampler, terms.names)
    seen, skips = (None, None) if before is None else (before.record, Skips.of(before.cut))
    studies = [look(first, draws, terms.num_samples, skips, seen)]
    if several:
        alike = signature(first) == signature(last)
        skips, seen = (skips, studies[0].record) if alike else (None, None)
        studies.append(look(last, draws, terms.num_samples, skips, seen))
    scopes = [[s.name for s in sites if s.scope == scope] for scope in ("global", "local")]
    groups = drawn_together(studies[0].cut, scopes, terms.num_samples)
    terms = replace(terms, groups=tuple(groups))
    with as_reason("compiling"):
        courses = _courses_of_ends(terms, studies)
    found = []
    for course, taking in courses:
        way = way_of(course, terms.sampler, [(each.minibatch, each.draws) for each in taking])
        if way.reason:
            logger.info("drawing one at a time from the slice: %s", way.reason)
        found.append((course, way.tier))
    if before is not None and len(found) == 1:
        keep(terms, sites, before, studies, *found[0])
    return terms, found


def _courses_of_ends(terms: Terms, studies: Sequence[Study]) -> list[tuple[Course, list[Study]]]:
    """The one or two courses of the first and last minibatch.

    Minibatches of which Python read the same must be one program.
    """
    found: list[tuple[Course, list[Study]]] = []
    for each in studies:
        known = signature(each.minibatch)
        for course, taking in found:
            if course.serves(each.minibatch, known):
                if difference := same_slice(course.sliced.cut, each.cut):
                    raise CannotSliceError(f"two draws are not the same program: {difference}")
                taking.append(each)
                break
        else:
            course = course_of(terms, each, known, [course for course, _ in found])
            if not course.serves(each.minibatch, known):
                raise CannotSliceError("a guard does not hold on its own minibatch")
            found.append((course, [each]))
    return found
