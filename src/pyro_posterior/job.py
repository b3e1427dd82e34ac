"""What is going to be done: `prepare` reads everything once and freezes it in a `Job`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pyro_posterior import settings
from pyro_posterior.batches import Batches, open_batches
from pyro_posterior.calls import check_arguments
from pyro_posterior.contracts import Minibatch, Program, Reduction, RunPlan, Segment, Site
from pyro_posterior.data.sources import NoSuchBatch
from pyro_posterior.doubts import warn_of_laplace
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.asked import extend, is_asked, is_extended, what_is_asked
from pyro_posterior.extending.forecasts import check_forecast
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.state import fresh_seed
from pyro_posterior.labelled import labelled
from pyro_posterior.labels import with_dims
from pyro_posterior.parameters import check_fitted, set_up_guide, stored_names
from pyro_posterior.program import Recipe
from pyro_posterior.reading.identity import model_identity
from pyro_posterior.reading.read import read
from pyro_posterior.reading.result import Reading
from pyro_posterior.reductions.plan import SummaryPlan, plan_summaries, with_errors_of
from pyro_posterior.request import Request
from pyro_posterior.segments import cut, segment_rows, with_columns
from pyro_posterior.session import Place
from pyro_posterior.stores.digest import identity_of, words_digest
from pyro_posterior.stores.earlier import Earlier, earlier_run
from pyro_posterior.stores.files import as_folder
from pyro_posterior.written import pack


@dataclass(frozen=True)
class Job:
    """A request, read: all that is needed to draw any segment of it, and nothing half built."""

    request: Request
    plan: RunPlan
    batches: Batches
    reading: Reading
    recipe: Recipe
    summaries: SummaryPlan
    segments: tuple[Segment, ...]
    rows: int  # observations per segment
    coords: Mapping[str, Any]  # labels by dimension, of the user and of the host
    identity: Mapping[str, str]  # digests of all that fixes the numbers beside the plan, by part
    parameters: frozenset[str]  # in Pyro's store before anything was run
    hidden: tuple[Site, ...] = ()  # drawn for reductions and not returned
    reductions: tuple[Reduction, ...] = ()

    @property
    def drawn(self) -> tuple[Site, ...]:
        """All sites that are drawn."""
        return self.plan.sites + self.hidden

    @property
    def program(self) -> Program:
        """What draws, made when it is first asked for.

        Raises
        ------
        RequestError
            The run was begun with another one, elsewhere or earlier.
        """
        program = self.recipe.program(self.plan.chunk_bytes)
        if program.tier != self.plan.engine:
            raise RequestError(
                f"this run was begun with the {self.plan.engine}, and here only the {program.tier} "
                "draws it, which rounds in another way: go on with the same versions and device, or "
                "start anew with overwrite=True"
            )
        return program

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

    @property
    def known(self) -> Known:
        """What other processes that make this job again need not read."""
        nothing = Minibatch(0, ())
        digests = tuple(self.batches.digest(index) for index in range(len(self.plan.batch_sizes)))
        reading = replace(self.reading, record=None, params={}, first=nothing, last=nothing)
        return Known(reading, digests, self.plan.engine, self.plan.chunk_bytes)

    def sites_of(self, segment: Segment) -> tuple[Site, ...]:
        """The sites that a segment holds, in the model's order."""
        return tuple(site for site in self.drawn if site.span(segment.number, segment.rows))

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
                minibatch = self.batches.get(index)
            except NoSuchBatch:
                raise RequestError(
                    f"data gave {index} minibatches when drawing where it had given {planned}: "
                    "every pass over it must give the same batches"
                ) from None
            except Exception as error:
                error.add_note(f"while reading minibatch {index} (counted from 0)")
                raise
            yield minibatch
        if self.batches.count is None and wanted and wanted[-1] == planned - 1 > 0:
            with suppress(NoSuchBatch):
                self.batches.get(planned)
                raise RequestError(
                    f"data gave more minibatches when drawing than the {planned} it had given: "
                    "every pass over it must give the same batches"
                )


@dataclass(frozen=True)
class Known:
    """What another process, where the job began, read in its pass over all of the data."""

    reading: Reading  # without what belongs to that process: its record, data of minibatches
    digests: tuple[str, ...]
    engine: str
    chunk_bytes: int


def prepare(request: Request, place: Place, known: Known | None = None) -> Job:
    """Read data, model and guide once, and fix everything that the numbers depend on.

    With what is ``known`` only the first and the last minibatch are read; of the others, what was
    read elsewhere holds, and their digests are compared when they are drawn.
    """
    if request.store is not None:  # of which other processes have other working folders
        request = replace(request, store=as_folder(request.store))
    count = request.num_samples
    assert count != "auto"  # see `precision`
    identified = known is not None or request.store is not None or request.is_divided
    earlier = None if request.overwrite else earlier_run(request.store)
    seed = seed_of(request, earlier)
    summaries = plan_summaries(request.summary_fun)
    batches = open_batches(_opened(request.data), request.batch_size, request.to_args, place.device)
    first, second = batches.first_two()
    several = second is not None
    del second
    stored = stored_names()
    predicts = bool(request.predictive or request.expected)
    check_forecast(request.model, first, predicts)
    if not predicts:  # predictions may go without the outcome
        check_arguments(request.model, request.guide, first)
    warn_of_laplace(request.guide)
    set_up_guide(request.guide, first, seed)
    parameters = frozenset(stored_names())
    unread = JointSampler(request.model, request.guide, seed, request.obs_plate)
    engine = settings.engine if request.engine == "auto" else request.engine
    if known is not None:
        unread = replace(unread, obs_plate=known.reading.obs_plate)
        batches.expect(known.digests)

    def reading_of(sampler: JointSampler) -> Reading:
        found = read(
            sampler,
            batches if several and known is None else (first,),
            only_rows=batches.only_rows,
            model_draws=request.model_draws or bool(request.infer_discrete),
        )
        if known is None or is_extended(known.reading) != bool(sampler.extensions):
            return found
        last = batches.get(len(known.digests) - 1)
        return replace(
            known.reading, record=found.record, params=found.params, first=first, last=last
        )

    answers = extend(request, unread, first, reading_of)
    unread, reading, sites = answers.sampler, answers.reading, answers.sites
    check_fitted(stored, list(place.modules), trained=request.trained)
    reading.say(sites)
    _check_real(request, sites)
    drawn = sites + answers.hidden
    plan = RunPlan(
        sites=sites,
        obs_plate=reading.obs_plate,
        num_samples=count,
        seed=seed,
        batch_sizes=reading.sizes,
        summaries=summaries.names,
        return_samples=request.return_samples,
        engine=engine,
        draws=request.draws,
        replicates=request.replicates,
    )
    summaries = with_errors_of(plan, summaries)
    plan = replace(plan, summaries=summaries.result_names)
    plan, coords = _labelled(request, plan, reading)
    if None not in summaries.statistics:  # which see each value by itself
        reduced = {reduction.site for reduction in answers.reductions}
        plan = replace(plan, sites=with_columns(plan.sites, count, reduced))
    sampler = reading.keyed(unread, plan.cubes, whole=request.return_sites is None)
    identity: dict[str, str] = {}
    digests: list[str] = []
    if identified:
        functions = None if request.summary_fun is None else summaries.functions
        identity = {
            **identity_of(sampler, reading, place.modules, place.device, functions),
            **model_identity(request.model, request.guide, place.modules, reading.record),
        }
        if is_asked(request):
            identity["answers"] = words_digest(what_is_asked(request, answers))
        digests = [batches.digest(index) for index in range(len(reading.sizes))]
    begun = known or earlier  # what they say of the program holds until one is needed
    if begun is not None and engine == "auto" and begun.engine == "loop":
        engine = "loop"
    recipe = Recipe(engine, sampler, reading, drawn, count, place.device)
    if begun is not None and (begun.engine == "loop") == (engine == "loop"):
        plan = replace(plan, engine=begun.engine, chunk_bytes=begun.chunk_bytes)
    else:
        program = recipe.program()
        plan = replace(plan, engine=program.tier, chunk_bytes=program.chunk_bytes)
    all_sites = replace(plan, sites=plan.sites + answers.hidden)
    rows = earlier.segment_rows if earlier else segment_rows(all_sites)
    return Job(
        request=request,
        plan=plan,
        batches=batches,
        reading=reading,
        recipe=recipe,
        summaries=summaries,
        segments=cut(all_sites, rows, digests, homes=reading.homes(drawn)),
        rows=rows,
        coords=coords,
        identity=identity,
        parameters=parameters,
        hidden=answers.hidden,
        reductions=answers.reductions,
    )


def _opened(data: Any) -> Any:
    """Data as they are, or what a function without arguments opens."""
    return data() if callable(data) and not hasattr(data, "__iter__") else data


def _labelled(
    request: Request, plan: RunPlan, reading: Reading
) -> tuple[RunPlan, Mapping[str, Any]]:
    """The plan with its axes named, and the labels along them, found to fit before any drawing."""
    known = [site.name for site in reading.sites]
    sites = with_dims(plan.sites, plan.num_obs, request.dims or {}, known)
    plan, coords = labelled(replace(plan, sites=sites), request.coords, request.names)
    if request.store is not None:
        pack(coords)  # raises where a store cannot hold them
    return plan, coords


def seed_of(request: Request, earlier: Earlier | None) -> int:
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
