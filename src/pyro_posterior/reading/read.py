"""Reading a model: what it has to be drawn, found out from what it did in every minibatch."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import torch

from pyro_posterior.contracts import Minibatch, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.keys import FREE
from pyro_posterior.reading.globals import differing_globals
from pyro_posterior.reading.plates import (
    check_named,
    check_rows,
    given_plates,
    grown_plates,
    picked_at_random,
    with_the_same_rows,
)
from pyro_posterior.reading.result import Reading
from pyro_posterior.reading.rows import (
    Twin,
    check_different,
    size_of_run,
    sizes_of,
    twin_made,
    twin_of_data,
    without_doubt,
)
from pyro_posterior.reading.runs import Run
from pyro_posterior.reading.select import Choice
from pyro_posterior.reading.survey import Survey, survey
from pyro_posterior.reading.table import SiteReader, differs_from, named_by_row

logger = logging.getLogger(__name__)


def read(
    sampler: JointSampler,
    minibatches: Iterable[Minibatch],
    *,
    only_rows: bool = False,
    model_draws: bool = False,
) -> Reading:
    """Look at every minibatch and at a run of guide and model on the first of each kind.

    Parameters
    ----------
    sampler
        With ``obs_plate`` as the user named it, or None to find it.
    minibatches
        All of them, in order; read once more where a global site may differ between them.
    only_rows
        Whether all tensors are known to have the observations as their first axis.
    model_draws
        Let sites the guide lacks be drawn from the model (a second model given for prediction),
        instead of calling them missing.

    Raises
    ------
    RequestError
        No plate of that name, several that may be meant, or a guide that gives other rows than the
        model asks for.
    """
    seen = survey(sampler, minibatches, only_rows=only_rows)
    sampler = replace(sampler, copies=seen.changes_data)
    check_named(seen.runs, sampler.obs_plate)
    for run in seen.runs:
        check_rows(run)
        _check_lengths(run)
    plate, twin = _obs_plate(sampler, seen)
    if twin is None:
        twin = twin_of_data(seen, plate) or twin_made(sampler, seen, plate)
    reader = _reader(seen, plate, twin)
    if twin is not None and reader.needs_doubt_settled(seen.runs[0]):
        reader = _reader(seen, plate, without_doubt(sampler, seen, plate, twin))
    return _put_together(sampler, seen, reader, model_draws, minibatches)


def _check_lengths(run: Run) -> None:
    for site, frame in run.misfits("latent"):
        if frame.size != 1 and site.shape[frame.dim - site.event_dim] != 1:
            raise RequestError(
                f"site {site.name!r} has shape {site.shape} from the guide, but plate "
                f"{frame.name!r} has {frame.size} rows in this minibatch: the guide keeps the size "
                "it was set up with. Build an autoguide with create_plates= (a function of the "
                "model's arguments that returns the plate with subsample=indices), or pass the "
                "data it was fitted to without batch_size"
            )


def _obs_plate(sampler: JointSampler, seen: Survey) -> tuple[str | None, Twin | None]:
    """The plate whose rows are the observations, and the twin that showed it, where one did."""
    if sampler.obs_plate is not None:
        return sampler.obs_plate, None
    given = given_plates(seen)
    if given:
        others = sorted(set(given) - with_the_same_rows(seen, given[0]))
        if others:
            raise RequestError(
                f"several plates subsample ({', '.join(map(repr, given))}): name the one whose "
                "rows are the observations with obs_plate="
            )
        return given[0], None
    check_different(seen)
    twin = twin_of_data(seen, None) or twin_made(sampler, seen, None)
    if twin is not None:
        grown = grown_plates(seen.runs[0], twin.run)
        if grown and twin.doubtful:
            twin = without_doubt(sampler, seen, grown[0], twin)
            grown = grown_plates(seen.runs[0], twin.run)
        return (grown[0] if grown else None), twin
    size = size_of_run(seen, 0, None)
    plates = [p.name for p in seen.runs[0].plates.values() if p.dim is not None and p.size == size]
    if seen.several and plates:
        raise RequestError(
            "the data come in minibatches, but no plate of the model subsamples, so its rows "
            "cannot be told: name the plate with obs_plate= "
            f"(plates: {', '.join(map(repr, plates))})"
        )
    return None, None


def _reader(seen: Survey, plate: str | None, twin: Twin | None) -> SiteReader:
    row_plates = with_the_same_rows(seen, plate) if plate is not None else frozenset()
    size = size_of_run(seen, 0, plate) or 1
    run = seen.runs[0]
    local = {
        site.name
        for site in (*run.sites.values(), *run.guide_sites.values())
        if any(frame.name in row_plates for frame in site.frames)
    } | {FREE}
    from_rows = {}
    if run.flow is not None:
        for name in run.flow.bits:
            arguments = run.flow.arguments_of(name)
            rows = any(not seen.several or seen.stays[i] != "same" for i in arguments)
            from_rows[name] = rows or bool(run.flow.randomness_of(name) & local)
    return SiteReader(plate, row_plates, size, twin, from_rows)


def _put_together(
    sampler: JointSampler,
    seen: Survey,
    reader: SiteReader,
    model_draws: bool,
    minibatches: Iterable[Minibatch],
) -> Reading:
    sizes = sizes_of(seen, reader.plate)
    found, unclear, local = _read_all(seen, reader, sizes)
    local |= reader.row_plates
    if seen.several:
        for name, problem in named_by_row(seen.runs[0], reader.size, reader.twin).items():
            if found[name].batch_axis is None:
                unclear.setdefault(name, problem)
    absent = {name: frozenset(seen.without(name)) for name in found}
    absent = {name: minibatches for name, minibatches in absent.items() if minibatches}
    for name in absent:
        if not found[name].dtype.is_floating_point and not found[name].dtype.is_complex:
            found[name] = replace(found[name], dtype=torch.get_default_dtype())
    latent = {site.name for site in found.values() if site.kind == "latent"}
    guided = {name for run in (*seen.runs, *seen.more) for name in run.guide_sites}
    keyed = replace(sampler, obs_plate=reader.plate, local_names=frozenset(local))
    for name in seen.computed:
        found[name] = replace(found[name], kind="deterministic")
    one_value = [name for name, site in found.items() if site.batch_axis is None]
    one_value += [name for name in guided if name not in local and name not in found]
    one_value = [name for name in one_value if name not in unclear]
    pairs = differing_globals(keyed, seen, one_value, minibatches)
    choice = Choice(
        tuple(found.values()),
        frozenset() if model_draws else frozenset(latent - guided),
        seen.rests_on,
        seen.may_rest_on,
        picked_at_random(seen.runs, reader.row_plates),
        unclear,
        {name: _differing_words(name, *pair) for name, pair in pairs.items()},
        seen.only_some_draws,
    )
    return Reading(
        choice,
        reader.plate,
        sizes,
        seen.first,
        seen.last,
        frozenset(local),
        absent,
        frozenset().union(*(run.names for run in (*seen.runs, *seen.more))),
        seen.runs[0].record,
        seen.runs[0].params,
        seen.changes_data,
    )


def _read_all(
    seen: Survey, reader: SiteReader, sizes: tuple[int, ...]
) -> tuple[dict[str, Site], dict[str, str], set[str]]:
    """All sites in the model's order, problems by site, and the names of local sites."""
    found: dict[str, Site] = {}
    unclear: dict[str, str] = {}
    local: set[str] = set()
    guided: set[str] = set()  # read already
    others = reader.twin.run if reader.twin is not None else None
    for number, run in enumerate((*seen.runs, *seen.more)):
        size = sizes[run.minibatch]
        here = reader if number == 0 else replace(reader, size=size)
        for site in run.sites.values():
            twin = others.sites.get(site.name) if others and number == 0 else None
            first = found.get(site.name)
            if first is not None:
                where = (seen.home(site.name), run.minibatch)
                problem = differs_from(first, site, size, sizes[where[0]], where)
                if problem:
                    unclear.setdefault(site.name, problem)
                if site.kind == "latent" and first.kind == "observed":
                    found[site.name] = replace(first, kind="latent")
                continue
            new, problem = here.read(site, twin)
            rows = site.kind == "derived" and site.shape.count(size) == 1
            if problem and rows and not seen.several:
                problem = ""  # made of rows and as long as they are
            if problem and not seen.several:  # nothing will be laid behind it
                new = replace(new, scope="global", batch_axis=None, rows_per_obs=1)
            elif problem:
                unclear[site.name] = problem
            _insert(found, replace(new, shape=new.full_shape(sizes[0])), run)
            if new.batch_axis is not None:
                local.add(site.name)
        for name, site in run.guide_sites.items():
            if name in guided:
                continue
            guided.add(name)
            twin = others.guide_sites.get(name) if others and number == 0 else None
            if here.read(site, twin)[0].batch_axis is not None:
                local.add(name)
    return found, unclear, local


def _insert(found: dict[str, Site], site: Site, run: Run) -> None:
    """Put a site before the first of those that come after it in this run, else at the end."""
    after = list(run.sites)[list(run.sites).index(site.name) + 1 :]
    names = list(found)
    at = min((names.index(name) for name in after if name in found), default=len(names))
    behind = [(name, found.pop(name)) for name in names[at:]]
    found[site.name] = site
    found.update(behind)


def _differing_words(name: str, one: int, other: int) -> str:
    return (
        f"site {name!r} has no rows and yet other values in minibatches {one} and {other} for the "
        "same draw, so it has no joint draw behind all of them: the guide looks at the minibatch, "
        "or randomness outside sites or a statistic of the minibatch's rows enters it. Pass all "
        f"data in one call (no batch_size), or leave it out with exclude_sites=[{name!r}]"
    )
