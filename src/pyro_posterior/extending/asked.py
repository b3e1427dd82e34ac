"""What a request asks of extensions, turned into a sampler that has them and what is to be reduced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from pyro_posterior.contracts import Minibatch, Reduction, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.extending import densities
from pyro_posterior.extending.derived import Derive
from pyro_posterior.extending.discrete import check_local, discrete_of
from pyro_posterior.extending.groups import grouped_reductions
from pyro_posterior.extending.intervene import check_one_for_all
from pyro_posterior.extending.mixing import check_rows, check_writes
from pyro_posterior.extending.new_data import check_data
from pyro_posterior.extending.nodes import Extension, values_in
from pyro_posterior.extending.predict import EXPECTED, OBSERVED, Predict, check_mean
from pyro_posterior.extending.prepared import plate_of, prepared, trace_of
from pyro_posterior.extending.redrawn import drawn_in_place
from pyro_posterior.joint import JointSampler
from pyro_posterior.reductions.grouped import Grouped
from pyro_posterior.reductions.rows import Kept, Tails, Total
from pyro_posterior.request import Request
from pyro_posterior.warn import warn

if TYPE_CHECKING:
    from pyro_posterior.reading.result import Reading


@dataclass(frozen=True)
class Answers:
    """A reading that knows the sites which extensions add, and what becomes of those."""

    sampler: JointSampler
    reading: Reading
    sites: tuple[Site, ...]  # returned
    hidden: tuple[Site, ...]  # only reduced
    reductions: tuple[Reduction, ...]


def is_asked(request: Request) -> bool:
    """Whether anything beyond the model's own sites is asked for."""
    return bool(
        request.derived
        or request.predictive
        or request.expected
        or request.do
        or request.log_likelihood
        or request.grouped
        or request.infer_discrete
    )


def is_extended(reading: Reading) -> bool:
    """Whether a reading knows sites that extensions added."""
    return any(site.kind in ("derived", "predicted", "density") for site in reading.sites)


def extend(
    request: Request,
    sampler: JointSampler,
    first: Minibatch,
    read: Callable[[JointSampler], Reading],
) -> Answers:
    """Read the model, extend the joint sample by what was asked for, and read it again.

    Parameters
    ----------
    request
        Whose arguments are checked here against the model.
    sampler
        Guide and model, unread.
    first
        The first minibatch.
    read
        Reads a sampler on all the data.

    Raises
    ------
    RequestError
        Something asked for does not fit the model.
    """
    if not is_asked(request):
        reading = read(sampler)
        chosen = reading.choice.select(
            request.return_sites, request.exclude_sites, request.return_observed
        )
        return Answers(sampler, reading, chosen, (), ())
    predicts = bool(request.predictive or request.expected)
    sampler = prepared(request, sampler, first, predicts)
    around = None
    if request.infer_discrete:
        traces = trace_of(sampler, sampler.guide, first), trace_of(sampler, sampler.model, first)
        around = discrete_of(*traces, mode=request.infer_discrete == "mode")
        sampler = replace(sampler, around=around)
    reading = read(sampler)
    if around is not None and len(reading.sizes) > 1:
        check_local(around.names, reading.sites)
    needs_rows = request.log_likelihood or request.grouped or request.predictive == "new"
    if needs_rows and reading.obs_plate is None:
        outcomes = [*_observed(request, reading), *reading.choice.missing]
        plate = plate_of(trace_of(sampler, sampler.model, first), outcomes)
        sampler = replace(sampler, obs_plate=plate)
        reading = read(sampler)
    if request.predictive == "new":
        local = {s.name for s in reading.sites if s.kind == "latent" and s.batch_axis is not None}
        local -= reading.choice.missing
        sampler = replace(sampler, from_model=sampler.from_model | local)
        reading = read(sampler)
    extensions: list[Extension] = []
    returned: list[str] = []
    undrawn: list[str] = []  # outcomes without data of which the mean alone is asked
    observed = _observed(request, reading)
    if observed and (predicts or request.log_likelihood):
        check_data(sampler.traces(first, 0)[1], observed)
    if request.log_likelihood:
        extensions.append(_densities(reading, observed))
    if predicts:
        missing = tuple(s.name for s in reading.sites if s.name in reading.choice.missing)
        if not observed and not missing:
            raise RequestError(
                "predictive=True: the model has no observed site and none without data to predict"
            )
        outcomes = [name for name in missing if name not in sampler.from_model]
        _say_missing(reading, outcomes)
        averaged = (*observed, *outcomes) if request.expected else ()
        if averaged:
            _, trace = sampler.traces(first, 0)
            for name in averaged:
                check_mean(name, trace.nodes[name]["fn"])
        sampler = drawn_in_place(request, sampler, first, observed)
        extensions.append(Predict(observed, missing, bool(request.predictive), averaged))
        if request.predictive:
            returned += [*observed, *missing]
        else:
            undrawn += outcomes
        returned += [EXPECTED.format(name) for name in averaged]
    if request.derived:
        _, trace = replace(sampler, extensions=tuple(extensions)).traces(first, 0)
        check_writes(request.derived, values_in(trace))
        extensions.append(Derive(dict(request.derived)))
        returned += list(request.derived)
    if extensions:
        sampler = replace(sampler, extensions=tuple(extensions))
        reading = read(sampler)
    for name in request.derived or ():
        if name in reading.choice.differing:
            raise RequestError(
                f"derived[{name!r}] has other values in other minibatches for the same draw, so it "
                "is made of some of the observations only: return a row per observation, and let "
                "grouped= add them up"
            )
    if request.derived and len(reading.sizes) > 1:
        ends = (sampler.traces(one, 0)[1] for one in (reading.first, reading.last))
        check_rows(request.derived, reading.sites, *map(values_in, ends))
    sites = _chosen(request, reading, returned, observed, undrawn)
    known = {site.name: site for site in reading.sites}
    if len(reading.sizes) > 1:
        for name in request.do or ():
            check_one_for_all(request.do or {}, known[name])
    reductions: list[Reduction] = list(grouped_reductions(request, known, sum(reading.sizes)))
    hidden: list[Site] = []
    if request.log_likelihood:
        hidden += [site for site in reading.sites if site.kind == "density"]
        reductions += [
            Kept("log_likelihood", densities.LIKELIHOOD),
            Total("log_p", densities.P_ROWS),
            Total("log_q", densities.Q_ROWS),
            Total("log_p", densities.P_REST),
            Total("log_q", densities.Q_REST),
        ]
        traces = sampler.traces(first, 0)
        if densities.has_rows_of_its_own(*traces, _row_plates(reading)):
            reductions.append(Tails("khat", densities.RATIO))
        else:
            hidden = [site for site in hidden if site.name != densities.RATIO]
    names = {site.name for site in (*sites, *hidden)}
    for reduction in reductions:
        if reduction.site not in names:
            hidden.append(known[reduction.site])
            names.add(reduction.site)
    for site in hidden:
        if problem := reading.choice.differing.get(site.name):
            raise RequestError(f"log_likelihood=True: {problem}")
    return Answers(sampler, reading, sites, tuple(hidden), tuple(reductions))


def what_is_asked(request: Request, answers: Answers) -> list[Any]:
    """Everything that fixes what extensions give, for comparison with another run."""
    totals = [
        [one.name, one.site, one.how, list(one.labels), one.codes.tolist()]
        for one in answers.reductions
        if isinstance(one, Grouped)
    ]
    set_to = {name: torch.as_tensor(value).tolist() for name, value in (request.do or {}).items()}
    flags = [
        str(request.predictive),
        request.expected,
        request.log_likelihood,
        str(request.infer_discrete),
    ]
    return [flags, dict(request.derived or {}), set_to, totals]


def _observed(request: Request, reading: Reading) -> tuple[str, ...]:
    return tuple(
        site.name
        for site in reading.sites
        if site.kind == "observed" and site.name not in (request.do or {})
    )


def _densities(reading: Reading, observed: tuple[str, ...]) -> densities.Densities:
    assert reading.obs_plate is not None
    axes = {site.name: site.batch_axis for site in reading.sites if site.batch_axis is not None}
    return densities.Densities(reading.obs_plate, _row_plates(reading), observed, axes)


def _row_plates(reading: Reading) -> frozenset[str]:
    plates = set(reading.local_names) - {site.name for site in reading.sites}
    return frozenset(plates | {reading.obs_plate or ""})


def _say_missing(reading: Reading, missing: Sequence[str]) -> None:
    inner = [
        name
        for name in missing
        if any(
            name in sources and site != name for site, sources in reading.choice.rests_on.items()
        )
    ]
    if inner:
        warn(
            f"the guide has no draws for {', '.join(map(repr, inner))}: drawn from the model given "
            "the rest"
        )


def _chosen(
    request: Request,
    reading: Reading,
    returned: Sequence[str],
    observed: Sequence[str],
    undrawn: Sequence[str],
) -> tuple[Site, ...]:
    """The sites asked for, those of extensions among them."""
    excluded = request.exclude_sites or ()
    if request.return_sites is None and not isinstance(excluded, str):
        excluded = [*excluded, *undrawn]
    returned = [name for name in returned if name not in excluded]
    wanted = request.return_sites
    if wanted is not None:
        named = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else wanted
        wanted = [*named, *(name for name in returned if name not in wanted)]
    if wanted is None and not any(_returnable(s, request) for s in reading.sites):
        wanted = []
    chosen = reading.choice.select(wanted, excluded or None, request.return_observed)
    data = {OBSERVED.format(name) for name in observed if name in returned}
    names = {site.name for site in chosen} | data
    hidden = {"density"}
    return tuple(s for s in reading.sites if s.name in names and s.kind not in hidden)


def _returnable(site: Site, request: Request) -> bool:
    return site.kind != "observed" or request.return_observed
