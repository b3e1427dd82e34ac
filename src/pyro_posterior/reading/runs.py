"""One run of guide and model on one minibatch, boiled down to what reading asks of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyro_posterior.contracts import Kind, Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.plates import is_plate
from pyro_posterior.reading.flow import Flow, flow_of
from pyro_posterior.reading.kinds import kind_of
from pyro_posterior.reading.picks import Picks, draws_freely, picks_of
from pyro_posterior.reading.valid import warn_of_invalid
from pyro_posterior.reading.watches import DataChanged, NoTraining, UnchangedData, check_data
from pyro_posterior.sliced.failures import worded
from pyro_posterior.sliced.moved import StatesMoved
from pyro_posterior.sliced.record import Traces, record_first
from pyro_posterior.sliced.tape import Record

logger = logging.getLogger(__name__)

#: Recordings with other random numbers outside sites, where Python had such.
OTHERS = 3


@dataclass(frozen=True)
class SeenSite:
    """A site as one run had it."""

    name: str
    kind: Kind
    shape: tuple[int, ...]
    dtype: torch.dtype
    frames: tuple[Any, ...]  # Pyro's, of the plates it lies in, sequential ones (dim None) included
    event_dim: int
    event_told: bool  # `pyro.deterministic` without event_dim calls every axis event
    data: torch.Tensor | None = field(default=None, repr=False)  # if observed and not recorded

    def axes_of(self, frame: Any) -> list[int]:
        """Axes (negative) where a plate may lie in the value, the likeliest first."""
        dims = [frame.dim - self.event_dim] if self.event_told else []
        dims += [] if self.event_told else [frame.dim]
        return [d for d in dims if -d <= len(self.shape) and self.shape[d] == frame.size]


@dataclass(frozen=True)
class SeenPlate:
    """A plate as one run had it: its rows, and which ones guide and model asked for."""

    name: str
    size: int  # rows in this run
    full_size: int
    dim: int | None  # None: sequential, or no site lies in it
    rows: torch.Tensor | None  # indices of the rows, as used
    asked: Mapping[
        str, torch.Tensor | None
    ]  # by "guide", "model": given there; None: all, or drawn
    sizes: Mapping[str, tuple[int, int]]  # by "guide", "model": rows it would have, and full size
    members: int  # sites in it

    @property
    def is_given(self) -> bool:
        """Whether guide or model named its rows."""
        return any(rows is not None for rows in self.asked.values())

    @property
    def at_random(self) -> str:
        """ "guide" or "model" where it picks some of the rows at random; empty where none does."""
        who = "guide" if "guide" in self.asked else "model"  # replayed with the guide's
        if who not in self.asked or self.asked[who] is not None:
            return ""
        size, full = self.sizes[who]
        return who if size < full else ""


@dataclass(frozen=True)
class Run:
    """What one run of guide and model showed."""

    minibatch: int
    names: frozenset[str]  # of everything sampled, factors and auxiliary sites included
    sites: Mapping[str, SeenSite]  # of the replayed model, in its order
    guide_sites: Mapping[str, SeenSite]
    plates: Mapping[str, SeenPlate]
    flow: Flow | None  # None: the run cannot be recorded
    record: Record | None
    params: Mapping[str, torch.Tensor]  # of the ``pyro.param`` statements, by "guide.name"
    changes_data: bool  # it wrote to its arguments, which were copies
    picks: Picks  # none where it cannot be recorded

    def misfits(self, *kinds: Kind) -> Iterator[tuple[SeenSite, Any]]:
        """Sites that are not as long as a plate they lie in, and the plate's frame."""
        for site in self.sites.values():
            if site.kind not in kinds or not site.event_told:
                continue
            for frame in site.frames:
                if frame.dim is not None:
                    axis = frame.dim - site.event_dim
                    length = site.shape[axis] if -axis <= len(site.shape) else frame.size
                    broadcast = site.kind == "observed" and length == 1
                    if length != frame.size and not broadcast:
                        yield site, frame

    def size_of(self, plate: str | None) -> int | None:
        """Rows of a plate in this run, None where it has no such plate."""
        if plate is None:
            return None
        found = self.plates.get(plate)
        return None if found is None else found.size


class _PlateNotes(Messenger):
    """Innermost around guide or model: what its own plate statements asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, torch.Tensor | None] = {}
        self.sizes: dict[str, tuple[int, int]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if is_plate(msg):
            value, fn = msg["value"], msg["fn"]
            rows = None if value is None else torch.as_tensor(value)
            chosen = len(rows) if rows is not None else fn.subsample_size
            self.asked[msg["name"]] = rows
            self.sizes[msg["name"]] = (fn.size if chosen is None else chosen, fn.size)


def look(
    sampler: JointSampler,
    minibatch: Minibatch,
    draw: int = 0,
    *,
    recorded: bool = True,
    checked: bool = False,
) -> Run:
    """Run guide and model once; recorded where that is possible, whatever engine will draw.

    ``checked`` says so where a site is drawn from a distribution that is none.
    """
    try:
        return _look(sampler, minibatch, draw, recorded, checked)
    except DataChanged:
        sampler = replace(sampler, copies=True)
        return _look(sampler, minibatch, draw, recorded, checked)


def _look(
    sampler: JointSampler, minibatch: Minibatch, draw: int, recorded: bool, checked: bool
) -> Run:
    watched, notes = _watched(sampler)
    picks = Picks()

    def run_of(record: Record | None, traces: Traces) -> Run:
        if checked:
            warn_of_invalid(*traces)
        flow = None if record is None else flow_of(record)
        return Run(
            minibatch.index,
            frozenset(n for n, node in traces[1].nodes.items() if node["type"] == "sample"),
            _sites(traces[1], flow),
            _sites(traces[0], flow),
            _plates(traces, notes),
            flow,
            record,
            params_met(*traces),
            sampler.copies,
            picks,
        )

    first = None
    if recorded:
        try:
            with NoTraining():
                first = record_first(watched, minibatch)
        except RequestError:
            raise
        except StatesMoved as moved:
            check_data(moved.record)
            picks = picks_by_hand(sampler, minibatch, moved.record, python=True)
        except Exception as reason:  # the model's own errors come again below, as they are
            logger.debug("the run on minibatch %d is not recorded: %s", minibatch.index, reason)
    if first is not None:
        check_data(first.record)
        picks = picks_by_hand(sampler, minibatch, first.record)
        return first.read(run_of)
    watched, notes = _watched(sampler)
    with worded("running"), UnchangedData(minibatch), NoTraining():
        traces = watched.traces(minibatch, draw)
    return run_of(None, traces)


def picks_by_hand(
    sampler: JointSampler, minibatch: Minibatch, record: Record, *, python: bool = False
) -> Picks:
    """What a recorded run picked with random numbers outside sites, ``python``: with those of Python.

    Where Python may have had some, the same draw is recorded again with other ones.
    """
    free = draws_freely(record) and sampler.around is None  # which draws discrete sites, row by row
    others: list[Record] = []
    if python or (free and flow_of(record).reads_free):
        shaken = (replace(sampler, others=number) for number in range(1, 1 + OTHERS))
        others = _records(shaken, minibatch)
    return picks_of(record, others) if free or others else Picks()


def picks_between_runs(sampler: JointSampler, minibatch: Minibatch) -> Picks:
    """What was picked with random numbers that have no key: runs of one draw differ by those."""
    records = _records([sampler] * (1 + OTHERS), minibatch)
    return picks_of(records[0], records[1:]) if records else Picks()


def _records(samplers: Iterable[JointSampler], minibatch: Minibatch) -> list[Record]:
    """A record by each, as far as they can be made."""
    found = []
    for sampler in samplers:
        try:
            first = record_first(sampler, minibatch)
            found.append(first.read(lambda record, traces: record))
        except StatesMoved as moved:
            found.append(moved.record)
        except Exception as reason:  # another way through the code
            logger.debug("no record to compare with: %s", reason)
    return found


def params_met(guide: poutine.Trace, model: poutine.Trace) -> dict[str, torch.Tensor]:
    """Values of the ``pyro.param`` statements that guide and model came by."""
    return {
        f"{role}.{name}": node["value"]
        for role, trace in (("guide", guide), ("model", model))
        for name, node in trace.nodes.items()
        if node["type"] == "param"
    }


def _watched(sampler: JointSampler) -> tuple[JointSampler, dict[str, _PlateNotes]]:
    guide, model = _PlateNotes(), _PlateNotes()
    watched = replace(sampler, guide=guide(sampler.guide), model=model(sampler.model))
    return watched, {"guide": guide, "model": model}


def _sites(trace: poutine.Trace, flow: Flow | None) -> dict[str, SeenSite]:
    found = {}
    plates = {name for name, node in trace.nodes.items() if is_plate(node)}
    for name, node in trace.nodes.items():
        kind = kind_of(node, flow, plates)
        if kind is None:
            continue
        value = torch.as_tensor(node["value"])
        event_dim = node["fn"].event_dim
        told = not (node["infer"].get("_deterministic") and event_dim == value.dim())
        frames = tuple(node["cond_indep_stack"])
        shape = tuple(value.shape)
        data = value.detach() if kind == "observed" and flow is None else None
        found[name] = SeenSite(name, kind, shape, value.dtype, frames, event_dim, told, data)
    return found


def _plates(
    traces: tuple[poutine.Trace, poutine.Trace], notes: Mapping[str, _PlateNotes]
) -> dict[str, SeenPlate]:
    frames: dict[str, list[Any]] = {}
    values: dict[str, torch.Tensor] = {}
    for trace in traces:  # the model's last: it is replayed with the guide's rows
        for name, node in trace.nodes.items():
            if node["type"] != "sample":
                continue
            if is_plate(node):
                values[name] = torch.as_tensor(node["value"])
                frames.setdefault(name, [])
            for frame in node["cond_indep_stack"]:
                frames.setdefault(frame.name, []).append(frame)
    found = {}
    for name, inside in frames.items():
        sizes = {who: n.sizes[name] for who, n in notes.items() if name in n.sizes}
        rows = values.get(name)
        size = len(rows) if rows is not None else inside[-1].size
        dims = [frame.dim for frame in inside if frame.dim is not None]
        found[name] = SeenPlate(
            name,
            size,
            max((full for _, full in sizes.values()), default=size),
            dims[-1] if dims else None,
            rows,
            {who: n.asked[name] for who, n in notes.items() if name in n.asked},
            sizes,
            len(inside),
        )
    return found
