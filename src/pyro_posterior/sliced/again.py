"""What earlier calls in this process came to, for a call that runs the same operations again.

A call records one draw before anything is known of the sites. Where that is, operation by operation,
what an earlier call recorded, on the same tensors, then what its further recordings showed holds for
this one as well, and its graphs are taken with this run's constants. Every other difference means
that the program is made anew. What comes out is held to the loop's draws in either case.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pyro_posterior.contracts import Minibatch, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.sliced.compiled import Compiled, Sliced, loop_draws
from pyro_posterior.sliced.compute import Compute, Constants
from pyro_posterior.sliced.courses import Course, SliceTier
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.form import Form, fixed_values, form_of
from pyro_posterior.sliced.graphs import Graphs
from pyro_posterior.sliced.guards import guards_of
from pyro_posterior.sliced.rekeyed import locality, rekeyed
from pyro_posterior.sliced.signature import signature
from pyro_posterior.sliced.slicing import Slice, slice_record
from pyro_posterior.sliced.study import Study
from pyro_posterior.sliced.tape import Record
from pyro_posterior.sliced.terms import Terms, checked_draws

#: Programs kept, those used last. They hold code and no tensors.
MOST_KEPT = 8


@dataclass(frozen=True)
class Before:
    """What a call knows before it makes a program: a record of draw 0, and its slice."""

    record: Record
    cut: Slice


@dataclass(frozen=True)
class _Template:
    """The graphs of one group without tensors; origins of constants are places in the form."""

    steps: Any
    graphs: Graphs
    drawn: dict[str, bool]
    chunk: int | None


@dataclass(frozen=True)
class _Kept:
    groups: tuple[tuple[str, ...], ...]
    local: dict[str, bool]  # by site
    leaves: tuple[Callable[[], torch.Tensor | None] | None, ...]  # None: a literal
    tier: SliceTier
    templates: tuple[_Template, ...]


class _Programs(threading.local):
    def __init__(self) -> None:
        self.held: OrderedDict[Any, _Kept] = OrderedDict()


_programs = _Programs()


def keep(
    terms: Terms,
    sites: Sequence[Site],
    before: Before,
    studies: Sequence[Study],
    course: Course,
    tier: SliceTier,
) -> None:
    """Keep the program of a call whose minibatches at both ends take one course."""
    if course.only is not None:
        return
    form = form_of(before.cut, keyed=False)
    if form_of(course.sliced.cut, keyed=False).steps != form.steps:
        return
    templates = []
    ready = course.sliced.compiled(tier == "batched slice", studies[0].minibatch)
    for cut, compiled in zip(course.sliced.cuts, ready, strict=True):
        template = _template(form_of(cut), compiled)
        if template is None:
            return
        templates.append(template)
    local = locality(studies[0].record)
    kept = _Kept(terms.groups, local, _leaves(before.cut, form), tier, tuple(templates))
    name = _name(terms, sites, before, form)
    _programs.held[name] = kept
    _programs.held.move_to_end(name)
    while len(_programs.held) > MOST_KEPT:
        _programs.held.popitem(last=False)


def made_again(
    terms: Terms, sites: Sequence[Site], ends: Sequence[Minibatch], before: Before
) -> tuple[Terms, list[tuple[Course, SliceTier]]] | None:
    """The terms and the course of an earlier call with this one's constants; None: there is none."""
    form = form_of(before.cut, keyed=False)
    kept = _programs.held.get(_name(terms, sites, before, form))
    if kept is None:
        return None
    for was, uid in zip(kept.leaves, _leaf_numbers(before.cut, form), strict=True):
        if was is not None and was() is not _original(before.cut, uid):
            return None
    terms = replace(terms, groups=kept.groups)
    try:
        with as_reason("compiling"):
            found = rekeyed(before.record, kept.local)
            course = _course(terms, found, kept, ends[0])
            for minibatch in {each.index: each for each in ends}.values():
                _check(terms, course, kept.tier, minibatch)
    except CannotSliceError:
        return None
    return terms, [(course, kept.tier)]


def _name(terms: Terms, sites: Sequence[Site], before: Before, form: Form) -> Any:
    """What must be equal beside the operations: all that decides on graphs and keys."""
    sampler = terms.sampler
    code = tuple(_code_of(function) for function in (sampler.guide, sampler.model))
    keys = (sampler.obs_plate, sampler.local_names, sampler.from_model, len(sampler.extensions))
    scopes = tuple(site.scope for site in sites)
    size = (terms.num_samples, terms.device, terms.chunk_bytes)
    reads = tuple((op.func, op.line) for op in before.cut.free_reads)  # of no consequence then
    return code, keys, terms.names, scopes, size, reads, form.steps


def _code_of(function: Any) -> Any:
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", type(function))


def _leaf_numbers(cut: Slice, form: Form) -> list[int]:
    """Constants that no operation made, in the order of the form."""
    given = set(cut.tape.inputs)
    return [uid for uid in form.tensors if uid in cut.tape.leaves and uid not in given]


def _original(cut: Slice, uid: int) -> torch.Tensor:
    return cut.tape.originals.get(uid, cut.tape.leaves[uid])


def _leaves(cut: Slice, form: Form) -> tuple[Callable[[], torch.Tensor | None] | None, ...]:
    tape = cut.tape
    return tuple(
        None if uid in tape.literals else weakref.ref(_original(cut, uid))
        for uid in _leaf_numbers(cut, form)
    )


def _template(form: Form, compiled: Compiled) -> _Template | None:
    """The graphs without their tensors; None where one of those came from nobody knows where."""
    graphs = compiled.graphs
    places = {uid: place for place, uid in enumerate(form.tensors)}

    def bare(one: Compute) -> Compute:
        origins = {name: places[uid] for name, uid in one.origins.items() if uid in places}
        return replace(one, origins=origins, constants=Constants({}))

    parts = (graphs.prologue, graphs.globals, graphs.body)
    known = [*graphs.origins, *(uid for part in parts for uid in part.origins.values())]
    if any(uid not in places for uid in known):
        return None
    prologue, glob, body = map(bare, parts)
    origins: list[int | None] = [places[uid] for uid in graphs.origins if uid in places]
    stripped = replace(
        graphs, prologue=prologue, globals=glob, body=body, constants=[], origins=origins
    )
    return _Template(form.steps, stripped, compiled.drawn, compiled.chunk)


def _course(terms: Terms, found: Record, kept: _Kept, minibatch: Minibatch) -> Course:
    """The kept course with what this call recorded.

    Raises
    ------
    CannotSliceError
        It is another one after all.
    """
    cut = slice_record(found, terms.names)
    sliced = Sliced(terms, found, cut)
    ready = [_filled(*pair) for pair in zip(sliced.cuts, kept.templates, strict=True)]
    sliced.take(kept.tier == "batched slice", ready)
    own = cut.hands_out_memory or found.tape.own
    if own:
        raise CannotSliceError("what it recorded serves one minibatch only")
    return Course(signature(minibatch), guards_of(cut), None, sliced)


def _filled(cut: Slice, template: _Template) -> Compiled:
    form = form_of(cut)
    if form.steps != template.steps:
        raise CannotSliceError("other operations depend on data or draws")
    values = fixed_values(cut)

    def constant(place: int | None) -> torch.Tensor:
        assert place is not None
        return values[form.tensors[place]].detach()

    def full(one: Compute) -> Compute:
        return one.with_constants({name: constant(place) for name, place in one.origins.items()})

    graphs = template.graphs
    graphs = replace(
        graphs,
        prologue=full(graphs.prologue),
        globals=full(graphs.globals),
        body=full(graphs.body),
        constants=[constant(place) for place in graphs.origins],
    )
    return Compiled(cut, graphs, template.drawn, template.chunk)


def _check(terms: Terms, course: Course, tier: SliceTier, minibatch: Minibatch) -> None:
    """Hold the program to the loop's draws of a minibatch, which must take its course.

    Raises
    ------
    CannotSliceError
        A value is another, or the minibatch takes another course.
    """
    if not course.serves(minibatch, signature(minibatch)):
        raise CannotSliceError("the last minibatch takes another course")
    draws = loop_draws(terms.sampler, terms.names, minibatch, checked_draws(terms.num_samples))
    for compiled in course.sliced.compiled(tier == "batched slice", minibatch):
        compiled.check(compiled.prologue(minibatch), terms.sampler, minibatch, draws)
