"""Names of axes and of positions along them: from plates, and from what the user or host knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.errors import RequestError

#: Name that hosts give to the axis of observations, whatever the plate is called.
OBSERVATIONS = "obs"

_TAKEN = ("chain", "draw")  # dims of draws


def full_shape(site: Site, num_obs: int) -> tuple[int, ...]:
    """Shape of one draw of ``site`` over all minibatches."""
    shape = list(site.shape)
    if site.batch_axis is not None:
        shape[site.batch_axis] = site.rows(num_obs)
    return tuple(shape)


def site_dims(
    plan: RunPlan, dims: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[str, ...]]:
    """A name for every axis of one draw of every site.

    The plate's name where an axis is a plate, else ``<site>_dim_<axis>``; a name means one length
    throughout.

    Parameters
    ----------
    dims
        ``{site: names}``, given by the user, for all axes of one draw or for the last ones.

    Raises
    ------
    RequestError
        ``dims`` names an unknown site, or gives more names than the site has axes.
    """
    given = _checked(plan, dims or {})
    lengths: dict[str, int] = {}
    reserved = {site.name for site in plan.sites} | set(_TAKEN)
    named = {}
    for site in plan.sites:
        shape = full_shape(site, plan.num_obs)
        plates = tuple(site.dims) or (None,) * len(shape)
        wished = [*plates[: len(shape) - len(given[site.name])], *given[site.name]]
        names: list[str] = []
        for axis, (wish, length) in enumerate(zip(wished, shape, strict=True)):
            name = (wish or "").replace("/", ".")
            free = name and name not in reserved and name not in names
            if not free or lengths.get(name, length) != length:
                name = f"{site.name.replace('/', '.')}_dim_{axis}"
            lengths[name] = length
            names.append(name)
        named[site.name] = tuple(names)
    return named


def _checked(plan: RunPlan, dims: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    known = {site.name: site for site in plan.sites}
    if not isinstance(dims, Mapping):
        raise RequestError(f"dims must be a dict, site to names of axes, found {dims!r}")
    for name, names in dims.items():
        if name not in known:
            raise RequestError(f"dims names the site {name!r}; the sites are {sorted(known)}")
        wrong = isinstance(names, str) or not hasattr(names, "__len__")
        if wrong or len(names) > len(known[name].shape):
            raise RequestError(
                f"dims gives {names!r} for site {name!r}, one draw of which has "
                f"{len(known[name].shape)} axes: give a list with at most that many names"
            )
    return {name: tuple(dims.get(name, ())) for name in known}


def dim_coords(
    lengths: Mapping[str, int],
    obs_dim: str | None,
    known: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Labels by dimension.

    Parameters
    ----------
    lengths
        Length of every dimension.
    obs_dim
        Dimension of the observations, which also goes by the name ``obs``.
    known
        Labels from the host; those that fit no dimension are left out.
    given
        Labels from the user; they win, and each must fit.

    Raises
    ------
    RequestError
        Given labels for an unknown dimension, or as many as it is not long.
    """
    coords: dict[str, np.ndarray] = {}
    for source, strict in ((known, False), (given or {}, True)):
        if not isinstance(source, Mapping):
            raise RequestError(f"coords must be a dict, dimension to labels, found {source!r}")
        for name, values in source.items():
            dim = obs_dim if name == OBSERVATIONS and name not in lengths and obs_dim else name
            labels = np.asarray(values)
            if labels.ndim != 1:
                raise RequestError(
                    f"coords gives an array of shape {labels.shape} for dimension {name!r}: give "
                    "one label for every position, such as a list"
                )
            if lengths.get(dim) == len(labels):
                coords[dim] = labels
            elif strict:
                length = lengths.get(dim)
                found = f"of length {length}" if length is not None else "unknown"
                raise RequestError(
                    f"coords gives {len(labels)} labels for dimension {name!r}, which is {found}. "
                    f"The dimensions are {dict(lengths)}"
                )
    return coords


def dim_lengths(plan: RunPlan, dims: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Length of every dimension in ``dims``."""
    return {
        name: length
        for site in plan.sites
        for name, length in zip(dims[site.name], full_shape(site, plan.num_obs), strict=True)
    }


def obs_dim(plan: RunPlan, dims: Mapping[str, tuple[str, ...]]) -> str | None:
    """The dimension with one position per observation; None where no site has it."""
    for site in plan.local_sites:
        if site.batch_axis is not None and site.rows_per_obs == 1:
            return dims[site.name][site.batch_axis]
    return None
