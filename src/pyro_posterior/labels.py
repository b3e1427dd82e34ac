"""Names of axes: of plates, and what the user or the host knows. See `labelled.py` for positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.errors import RequestError

#: Name that hosts give to the axis of observations, whatever the plate is called.
OBSERVATIONS = "obs"

#: Names of the two numbers that say where observations lie, of an AnnData's ``obsm["spatial"]``.
SPATIAL = ("spatial x", "spatial y")

#: Dimensions of draws.
TAKEN = ("chain", "draw")


def full_shape(site: Site, num_obs: int) -> tuple[int, ...]:
    """Shape of one draw of ``site`` over all minibatches."""
    return site.full_shape(num_obs)


def site_dims(
    plan: RunPlan, dims: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """A name for every axis of one draw of every site.

    The name given by the user, else that of the plate, else ``<site>_dim_<axis>``; a name means
    one length throughout.

    Parameters
    ----------
    dims
        ``{site: names}``, given by the user, for all axes of one draw or for the last ones.

    Raises
    ------
    RequestError
        ``dims`` does not fit.
    """
    if dims:
        plan = replace(plan, sites=with_dims(plan.sites, plan.num_obs, dims))
    lengths: dict[str, int] = {}
    reserved = {site.name for site in plan.sites} | set(TAKEN)
    named = {}
    given = dims or {}
    # Sites whose axes the user named come first: a plate of that name and another length gives way.
    for site in sorted(plan.sites, key=lambda site: site.name not in given):
        shape = site.full_shape(plan.num_obs)
        names: list[str] = []
        for axis, length in enumerate(shape):
            wish = (site.dims[axis] if site.dims else None) or ""
            name = wish.replace("/", ".")
            free = name and name not in reserved and name not in names
            if not free or lengths.get(name, length) != length:
                name = f"{site.name.replace('/', '.')}_dim_{axis}"
            lengths[name] = length
            names.append(name)
        named[site.name] = tuple(names)
    return {site.name: named[site.name] for site in plan.sites}


def with_dims(
    sites: Sequence[Site],
    num_obs: int,
    dims: Mapping[str, Sequence[str]],
    known: Sequence[str] = (),
) -> tuple[Site, ...]:
    """The sites, their axes named as the user says.

    Parameters
    ----------
    sites, num_obs
        What there is.
    dims
        ``{site: names}`` of the axes of one draw, all or the last ones.
    known
        Sites of the model that are not among ``sites``, for which names are no mistake.

    Raises
    ------
    RequestError
        An unknown site, more names than axes, a name twice in a site, of a site or of the axes of
        draws, or one name for two lengths.
    """
    if not isinstance(dims, Mapping):
        raise RequestError(f"dims must be a dict, site to names of axes, found {dims!r}")
    by_name = {site.name: site for site in sites}
    reserved = {*by_name, *TAKEN}
    lengths: dict[str, tuple[int, str]] = {}
    for name, names in dims.items():
        if name not in by_name and name not in known:
            raise RequestError(f"dims names the site {name!r}; the sites are {sorted(by_name)}")
        if name in by_name:
            _check_names(by_name[name], names, reserved)
            shape = by_name[name].full_shape(num_obs)
            for dim, length in zip(names, shape[len(shape) - len(names) :], strict=True):
                before, where = lengths.setdefault(dim, (length, name))
                if before != length:
                    raise RequestError(
                        f"dims gives the name {dim!r} to an axis of length {before} of site "
                        f"{where!r} and to one of length {length} of site {name!r}: one name is "
                        "for one length"
                    )
    return tuple(_named(site, dims.get(site.name, ())) for site in sites)


def _named(site: Site, names: Sequence[str]) -> Site:
    rank = len(site.shape)
    plates = tuple(site.dims) or (None,) * rank
    return replace(site, dims=(*plates[: rank - len(names)], *names)) if len(names) else site


def _check_names(site: Site, names: Any, reserved: set[str]) -> None:
    is_list = not isinstance(names, str) and hasattr(names, "__len__")
    if not is_list or len(names) > len(site.shape):
        raise RequestError(
            f"dims gives {names!r} for site {site.name!r}, one draw of which has "
            f"{len(site.shape)} axes: give a list with at most that many names"
        )
    for name in names:
        if not isinstance(name, str) or not name or "/" in name:
            raise RequestError(
                f"dims gives {name!r} as a name of an axis of site {site.name!r}: give a text "
                "without slashes"
            )
        if name in reserved:
            raise RequestError(
                f"dims gives the name {name!r} to an axis of site {site.name!r}, which is the name "
                f"of {'an axis of draws' if name in TAKEN else 'a site'}: give another one"
            )
    if len(set(names)) < len(names):
        raise RequestError(f"dims gives one name to two axes of site {site.name!r}: {list(names)}")


def dim_lengths(plan: RunPlan, dims: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Length of every dimension in ``dims``."""
    return {
        name: length
        for site in plan.sites
        for name, length in zip(dims[site.name], site.full_shape(plan.num_obs), strict=True)
    }


def obs_dim(plan: RunPlan, dims: Mapping[str, tuple[str, ...]]) -> str | None:
    """The dimension with one position per observation; None where no site has it."""
    for site in plan.local_sites:
        if site.batch_axis is not None and site.rows_per_obs == 1:
            return dims[site.name][site.batch_axis]
    return None
