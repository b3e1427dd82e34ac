"""What is going to be done: `prepare` reads everything once and freezes it in a `Job`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pyro_posterior import settings
from pyro_posterior.batches import Batches, leading_sizes, open_batches
from pyro_posterior.calls import check_arguments
from pyro_posterior.contracts import Minibatch, Program, RunPlan, Segment, Site
from pyro_posterior.data.sources import NoSuchBatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.state import fresh_seed
from pyro_posterior.labelled import labelled
from pyro_posterior.labels import with_dims
from pyro_posterior.parameters import check_fitted, set_up_guide, stored_names
from pyro_posterior.program import look_first, make_program
from pyro_posterior.reductions.plan import SummaryPlan, plan_summaries
from pyro_posterior.request import Request
from pyro_posterior.segments import cut, segment_rows
from pyro_posterior.session import Place
from pyro_posterior.sites import SiteTable, read_sites
from pyro_posterior.stores.digest import identity_of
from pyro_posterior.stores.earlier import Earlier, earlier_run
from pyro_posterior.written import pack


@dataclass(frozen=True)
class Job:
    """A request, read: all that is needed to draw any segment of it, and nothing half built."""

    request: Request
    plan: RunPlan
    batches: Batches
    program: Program
    summaries: SummaryPlan
    segments: tuple[Segment, ...]
    rows: int  # observations per segment
    coords: Mapping[str, Any]  # labels by dimension, of the user and of the host
    identity: Mapping[str, str]  # digests of all that fixes the numbers beside the plan, by part

    @property
    def parts(self) -> dict[str, str]:
        """Digests of all that fixes the numbers, by what it is: equal wherever the same job is made."""
        plan = {
            field.name: repr(getattr(self.plan, field.name))
            for field in dataclasses.fields(RunPlan)
        }
        return {**plan, "data and segments": repr(self.segments), **self.identity}

    @property
    def digest(self) -> str:
        """All `parts` in one short word."""
        return hashlib.blake2b(
            repr(sorted(self.parts.items())).encode(), digest_size=16
        ).hexdigest()

    def sites_of(self, segment: Segment) -> tuple[Site, ...]:
        """The sites that a segment holds, in the model's order."""
        return self.plan.local_sites if segment.number else self.plan.global_sites

    def minibatches(self, wanted: Sequence[int]) -> Iterator[Minibatch]:
        """The minibatches of these numbers, which increase.

        Raises
        ------
        RequestError
            There are fewer or more minibatches than there were when the job was made.
        """
        planned = len(self.plan.batch_sizes)
        for index in wanted:
            try:
                yield self.batches.get(index)
            except NoSuchBatch:
                raise RequestError(
                    f"data gave {index} minibatches when drawing where it had given {planned}: "
                    "every pass over it must give the same batches"
                ) from None
        if self.batches.count is None and wanted and wanted[-1] == planned - 1 > 0:
            with suppress(NoSuchBatch):
                self.batches.get(planned)
                raise RequestError(
                    f"data gave more minibatches when drawing than the {planned} it had given: "
                    "every pass over it must give the same batches"
                )


def prepare(request: Request, place: Place, *, identified: bool = False) -> Job:
    """Read data, model and guide once, and fix everything that the numbers depend on.

    ``identified`` asks for digests of all of it, which stores and other machines compare.
    """
    identified = identified or request.store is not None or request.is_divided
    earlier = None if request.overwrite else earlier_run(request.store)
    seed = _seed(request, earlier)
    summaries = plan_summaries(request.summary_fun)
    batches = open_batches(_opened(request.data), request.batch_size, request.to_args, place.device)
    first, second = batches.first_two()
    stored = stored_names()
    check_arguments(request.model, request.guide, first)
    set_up_guide(request.guide, first, seed)
    unread = JointSampler(request.model, request.guide, seed, request.obs_plate)
    engine = settings.engine if request.engine == "auto" else request.engine
    look = look_first(engine, unread, first)
    table = read_sites(
        unread,
        first,
        (look.guide_trace, look.trace),
        needs_plate=second is not None,
        model_draws=request.model_draws,
    )
    seen = look.record
    del look  # its traces hold all that the model computed
    check_fitted(stored, list(place.modules), trained=request.trained)
    sites = table.select(request.return_sites, request.exclude_sites, request.return_observed)
    _check_real(request, sites)
    sizes: tuple[int, ...] = (table.first_size,)
    last = first
    if second is not None:
        sizes, last = batches.plan(_counter(unread, table, first), table.first_size)
    plan = RunPlan(
        sites=sites,
        obs_plate=table.obs_plate,
        num_samples=request.num_samples,
        seed=seed,
        batch_sizes=sizes,
        summaries=summaries.names,
        return_samples=request.return_samples,
        engine=engine,
        draws=request.draws,
    )
    plan, coords = _labelled(request, plan, table)
    sampler = replace(
        unread, obs_plate=table.obs_plate, local_names=table.local_names, cubes=plan.cubes
    )
    program = make_program(
        engine, sampler, seen, (first, last), sites, request.num_samples, place.device
    )
    plan = replace(plan, engine=program.tier)
    identity: Mapping[str, str] = {}
    digests: list[str] = []
    if identified:
        functions = None if request.summary_fun is None else summaries.functions
        identity = identity_of(sampler, place.modules, (first, last), place.device, functions)
        digests = [batches.digest(index) for index in range(len(sizes))]
    rows = earlier.segment_rows if earlier else segment_rows(plan)
    return Job(
        request=request,
        plan=plan,
        batches=batches,
        program=program,
        summaries=summaries,
        segments=cut(plan, rows, digests),
        rows=rows,
        coords=coords,
        identity=identity,
    )


def _opened(data: Any) -> Any:
    """Data as they are, or what a function without arguments opens."""
    return data() if callable(data) and not hasattr(data, "__iter__") else data


def _labelled(
    request: Request, plan: RunPlan, table: SiteTable
) -> tuple[RunPlan, Mapping[str, Any]]:
    """The plan with its axes named, and the labels along them, found to fit before any drawing."""
    known = [site.name for site in table.sites]
    sites = with_dims(plan.sites, plan.num_obs, request.dims or {}, known)
    plan, coords = labelled(replace(plan, sites=sites), request.coords, request.names)
    if request.store is not None:
        pack(coords)  # raises where a store cannot hold them
    return plan, coords


def _seed(request: Request, earlier: Earlier | None) -> int:
    """The seed asked for, else of the settings, else of the unfinished store, else a fresh one."""
    seed = settings.seed if request.seed is None else request.seed
    if seed is None and earlier is not None:
        seed = earlier.seed_to_go_on_with()
    return fresh_seed() if seed is None else int(seed)


def _check_real(request: Request, sites: Sequence[Site]) -> None:
    found = [site.name for site in sites if site.dtype.is_complex]
    if found and request.summary_fun is None:
        raise RequestError(
            f"the sites {found} have complex numbers, of which there are no quantiles: leave them "
            f"out with exclude_sites={found}, or say what is wanted with summary_fun="
        )


def _counter(
    sampler: JointSampler, table: SiteTable, first: Minibatch
) -> Callable[[Minibatch], int]:
    """A function that counts the observations of a minibatch: rows of the tensors that had as many.

    Where these disagree (one had as many by chance) the model is run and its plate tells.
    """
    positions = [i for i, size in enumerate(leading_sizes(first)) if size == table.first_size]

    def by_rows(minibatch: Minibatch) -> int:
        sizes = leading_sizes(minibatch)
        found = {sizes[i] for i in positions if i < len(sizes)}
        return found.pop() if len(found) == 1 else by_plate(minibatch)

    def by_plate(minibatch: Minibatch) -> int:
        _, trace = sampler.traces(minibatch, 0)
        frames = [f for node in trace.nodes.values() for f in node.get("cond_indep_stack", ())]
        return next((int(f.size) for f in frames if f.name == table.obs_plate), 1)

    return by_rows
