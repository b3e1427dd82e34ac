"""What is there to draw: every site's kind, scope and batch axis, read once and frozen."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine

from pyro_posterior.batches import leading_sizes, resized
from pyro_posterior.contracts import Kind, Minibatch, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler, is_plate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SiteTable:
    """All sites of a model in its order, and the plate whose rows are the observations."""

    sites: tuple[Site, ...]
    obs_plate: str | None
    first_size: int  # observations in the first minibatch
    missing: tuple[str, ...]  # latents of the model that the guide lacks
    local_names: frozenset[str]  # sites, the guide's own included, whose draws differ by minibatch
    unclear: dict[str, str]  # sites whose batch axis cannot be told, and why

    def select(
        self,
        return_sites: Iterable[str] | None,
        exclude_sites: Iterable[str] | None,
        return_observed: bool,
    ) -> tuple[Site, ...]:
        """The sites asked for, in the model's order.

        Raises
        ------
        RequestError
            Unknown, contradictory or no sites, or one whose batch axis cannot be told.
        """
        known = {site.name: site for site in self.sites}
        wanted = None if return_sites is None else _names("return_sites", return_sites)
        excluded = set() if exclude_sites is None else set(_names("exclude_sites", exclude_sites))
        for argument, names in (("return_sites", wanted or ()), ("exclude_sites", excluded)):
            unknown = sorted(set(names) - set(known))
            if unknown:
                raise RequestError(
                    f"{argument} names {_listed(unknown)}, which the model does not have. "
                    f"Its sites are: {_listed(known) or 'none'}"
                )
        both = sorted(excluded & set(wanted or ()))
        if both:
            raise RequestError(
                f"{_listed(both)} stand in both return_sites and exclude_sites: keep one"
            )
        if wanted is not None and not return_observed:
            observed = [name for name in wanted if known[name].kind == "observed"]
            if observed:
                raise RequestError(
                    f"return_sites names {_listed(observed)}, which is observed: "
                    "pass return_observed=True to get observed values"
                )
        lacking = sorted(set(self.missing) - excluded)
        if lacking:
            raise RequestError(
                f"the guide has no draws for {_listed(lacking)}, latent in the model: add them to "
                "the guide, pass the data if they are observed, or leave them out with "
                f"exclude_sites={lacking!r} (they are then drawn from the model given the rest)"
            )
        chosen = tuple(
            site
            for site in self.sites
            if site.name not in excluded
            and (wanted is None or site.name in wanted)
            and (return_observed or site.kind != "observed")
        )
        if not chosen:
            raise RequestError(
                f"no sites to return. The model has: "
                f"{_listed(f'{site.name} ({site.kind})' for site in self.sites) or 'none'}"
            )
        for site in chosen:
            if site.name in self.unclear:
                raise RequestError(self.unclear[site.name])
        return chosen


def _names(argument: str, value: Iterable[str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    names = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(name, str) for name in names):
        raise RequestError(f"{argument} must be a list of site names, found {value!r}")
    return names


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names)


def read_sites(
    sampler: JointSampler,
    first: Minibatch,
    traces: tuple[poutine.Trace, poutine.Trace],
    *,
    needs_plate: bool,
    model_draws: bool = False,
) -> SiteTable:
    """Look at a run of guide and model on the first minibatch, and at one of another size.

    Parameters
    ----------
    sampler
        With ``obs_plate`` as the user named it, or None to find it.
    first, traces
        The first minibatch, and the guide's and the replayed model's trace of a run on it.
    needs_plate
        Whether there are several minibatches, so that their rows must be laid behind each other.
    model_draws
        Let sites the guide lacks be drawn from the model without a word (a second model given
        for prediction), instead of calling them missing.

    Raises
    ------
    RequestError
        No plate of that name, no or several plates that follow the minibatch.
    """
    guide_trace, trace = traces
    for name, shape, frame in _misfits(trace):
        if frame.size != 1 and shape[frame.dim - trace.nodes[name]["fn"].event_dim] != 1:
            raise RequestError(
                f"site {name!r} has shape {shape} from the guide, but plate {frame.name!r} has "
                f"{frame.size} rows in this minibatch: the guide keeps the size it was set up "
                "with. Build an autoguide with create_plates= (a function of the model's "
                "arguments that returns the plate with subsample=indices), or pass the data "
                "it was fitted to without batch_size"
            )
    size = _minibatch_size(trace, sampler.obs_plate, first)
    other, other_guide = None, None
    other_size = 3 if size > 3 else size + 1
    try:
        other_guide, other = sampler.traces(resized(first, size, other_size), 0)
    except Exception as error:  # the model's own checks on its data may refuse another size
        logger.debug("model cannot run on %d of %d rows: %s", other_size, size, error)
    if other is not None and any(_misfits(other)):
        other = other_guide = None  # the guide kept its own size, and the model broadcast it
    plate = _find_plate(trace, other, sampler.obs_plate, first, needs_plate)
    if plate is not None:
        size = _plates(trace)[plate].size
        if other is not None and _plates(other).get(plate) == _plates(trace)[plate]:
            if needs_plate:
                raise RequestError(
                    f"plate {plate!r} has {size} rows whatever the size of the minibatch: the "
                    "guide chooses its rows by itself. Build an autoguide with create_plates= "
                    "(a function of the model's arguments that returns the plate with "
                    "subsample=indices), or give the plate subsample=indices in your own guide"
                )
            _check_own_size(sampler, first, plate, size)
            other = other_guide = None
    reader = _Reader(plate, size, other_size)
    sites, unclear = [], {}
    for name, node in trace.nodes.items():
        kind = _kind(node)
        if kind is None:
            continue
        twin = None if other is None else other.nodes.get(name)
        site, problem = reader.read(name, node, twin, kind)
        if problem and not needs_plate:  # nothing will be laid behind it
            site = replace(site, scope="global", batch_axis=None, rows_per_obs=1)
        elif problem:
            unclear[name] = problem
        sites.append(site)
    latent = {site.name for site in sites if site.kind == "latent"}
    missing = () if model_draws else tuple(sorted(latent - set(guide_trace.nodes)))
    local = {site.name for site in sites if site.scope == "local"}
    for name, node in guide_trace.nodes.items():
        if node["type"] == "sample" and not is_plate(node):
            twin = None if other_guide is None else other_guide.nodes.get(name)
            if reader.read(name, node, twin, "latent")[0].scope == "local":
                local.add(name)
    return SiteTable(tuple(sites), plate, size, missing, frozenset(local), unclear)


# ------------------------------------------------------------------------------------------- plates


def _plates(trace: poutine.Trace) -> dict[str, Any]:
    """Frames of all plates with a dim, by name."""
    return {
        frame.name: frame
        for node in trace.nodes.values()
        if node["type"] == "sample"
        for frame in node["cond_indep_stack"]
        if frame.dim is not None
    }


def _check_own_size(sampler: JointSampler, first: Minibatch, plate: str, size: int) -> None:
    """Raise where the guide gives the plate another size than the model would."""
    frame = _plates(sampler.model_alone(first)).get(plate)
    if frame is not None and frame.size != size:
        raise RequestError(
            f"plate {plate!r} has {size} rows in the guide and {frame.size} in the model: pass the "
            "data the guide was fitted to, or build it with create_plates= (a function of the "
            "model's arguments that returns the plate with subsample=indices)"
        )


def _misfits(trace: poutine.Trace) -> Iterator[tuple[str, tuple[int, ...], Any]]:
    """Latents that are not as long as a plate they lie in: name, shape and the plate's frame."""
    for name, node in trace.nodes.items():
        if _kind(node) != "latent":
            continue
        shape = tuple(torch.as_tensor(node["value"]).shape)
        for frame in node["cond_indep_stack"]:
            if frame.dim is not None:
                axis = frame.dim - node["fn"].event_dim
                if -axis <= len(shape) and shape[axis] != frame.size:
                    yield name, shape, frame


def _minibatch_size(trace: poutine.Trace, named: str | None, first: Minibatch) -> int:
    """Observations in the minibatch: of the named or a subsampling plate, else rows of the data."""
    plates = _plates(trace)
    if named in plates:
        return int(plates[named].size)
    for name in _subsampling(trace, first):
        return int(plates[name].size)
    sizes = leading_sizes(first)
    return sizes[0] if sizes else 1


def _subsampling(trace: poutine.Trace, first: Minibatch) -> list[str]:
    """Plates of which this minibatch is a part: smaller than full, or given indices as data."""
    given = [id(x) for x in (*first.args, *first.kwargs.values()) if isinstance(x, torch.Tensor)]
    found = []
    for name, frame in _plates(trace).items():
        node = trace.nodes.get(name)
        indexed = node is not None and id(node["value"]) in given
        if indexed or (frame.full_size is not None and frame.size != frame.full_size):
            found.append(name)
    return found


def _find_plate(
    trace: poutine.Trace,
    other: poutine.Trace | None,
    named: str | None,
    first: Minibatch,
    needed: bool,
) -> str | None:
    plates = _plates(trace)
    if named is not None:
        if named not in plates:
            raise RequestError(
                f"obs_plate={named!r} is not a plate of the model. "
                f"Its plates are: {_listed(plates) or 'none'}"
            )
        return named
    found = _subsampling(trace, first)
    if not found and other is not None:
        others = _plates(other)
        found = [
            name
            for name, frame in plates.items()
            if name in others and others[name].size != frame.size
        ]
        members = [
            frame.name
            for node in trace.nodes.values()
            for frame in node.get("cond_indep_stack", ())
        ]
        found = sorted(found, key=members.count, reverse=True)[:1]
    if len(found) > 1:
        raise RequestError(
            f"several plates subsample ({_listed(found)}): name the one whose rows are the "
            "observations with obs_plate="
        )
    if found:
        return found[0]
    if needed and other is None:
        raise RequestError(
            "the data come in minibatches, but no plate of the model subsamples, so its rows "
            f"cannot be told: name the plate with obs_plate= (plates: {_listed(plates) or 'none'})"
        )
    return None


# -------------------------------------------------------------------------------------------- sites


def _kind(node: Any) -> Kind | None:
    """Kind of a trace node, or None for plates, parameters, factors and auxiliary sites."""
    if node["type"] != "sample" or is_plate(node) or node["infer"].get("is_auxiliary"):
        return None
    if node["infer"].get("_deterministic"):
        return "deterministic"
    fn = node["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if isinstance(fn, dist.Unit):  # pyro.factor
        return None
    return "observed" if node["is_observed"] else "latent"


@dataclass(frozen=True)
class _Reader:
    """Reads one site, given the obs plate and minibatches of two sizes."""

    plate: str | None
    size: int
    other_size: int

    def read(self, name: str, node: Any, twin: Any, kind: Kind) -> tuple[Site, str]:
        """The site, and why its batch axis cannot be told ("" where it can)."""
        value = torch.as_tensor(node["value"])
        shape = tuple(value.shape)
        frames = {f.name: f for f in node["cond_indep_stack"] if f.dim is not None}
        dims = _dims(frames, node, shape)
        site = Site(name, kind, "global", shape, value.dtype, dims=dims)
        frame = frames.get(self.plate) if self.plate else None
        axis, problem = None, ""
        if twin is not None:
            axis, problem = self._grown(name, shape, tuple(torch.as_tensor(twin["value"]).shape))
        elif frame is not None:
            axis, problem = self._declared(name, node, frame, shape)
        if axis is None:
            return site, problem
        rows = shape[axis] // self.size
        dims = tuple(
            self.plate or "obs"
            if i == len(shape) + axis and rows == 1
            else (d if d != self.plate else None)
            for i, d in enumerate(dims)
        )
        local = replace(site, scope="local", batch_axis=axis, rows_per_obs=rows, dims=dims)
        return local, problem

    def _grown(
        self, name: str, shape: tuple[int, ...], other: tuple[int, ...]
    ) -> tuple[int | None, str]:
        """The axis whose length follows the number of observations."""
        if len(shape) != len(other):
            return -1, (
                f"site {name!r} has shape {shape} for {self.size} observations and {other} for "
                f"{self.other_size}: its batch axis cannot be told; leave it out with exclude_sites"
            )
        grown = [i - len(shape) for i in range(len(shape)) if shape[i] != other[i]]
        if not grown:
            return None, ""
        axis = grown[0]
        linear = shape[axis] * self.other_size == other[axis] * self.size
        if len(grown) > 1 or not linear or shape[axis] % self.size:
            return axis, (
                f"site {name!r} has shape {shape} for {self.size} observations and {other} for "
                f"{self.other_size}: its batch axis cannot be told, so minibatches cannot be laid "
                "behind each other; leave it out with exclude_sites"
            )
        return axis, ""

    def _declared(
        self, name: str, node: Any, frame: Any, shape: tuple[int, ...]
    ) -> tuple[int | None, str]:
        """The plate's axis, as its dim and the site's event dims say."""
        for axis in _plate_axes(node, frame):
            if -axis <= len(shape) and shape[axis] == frame.size:
                return axis, ""
        if frame.size not in shape:
            return None, ""
        return -1, (
            f"site {name!r} with shape {shape} lies in plate {frame.name!r} (dim {frame.dim}, size "
            f"{frame.size}), but not along that axis: give its event_dim in the model, or leave "
            "it out with exclude_sites"
        )


def _plate_axes(node: Any, frame: Any) -> list[int]:
    """Where a plate may lie in a value. `pyro.deterministic` without event_dim calls all dims event."""
    axes = [frame.dim - node["fn"].event_dim]
    if node["infer"].get("_deterministic"):
        axes.append(frame.dim)
    return axes


def _dims(frames: dict[str, Any], node: Any, shape: tuple[int, ...]) -> tuple[str | None, ...]:
    dims: list[str | None] = [None] * len(shape)
    for name, frame in frames.items():
        for axis in _plate_axes(node, frame):
            if -axis <= len(shape) and shape[axis] == frame.size and dims[axis] is None:
                dims[axis] = name
                break
    return tuple(dims)
