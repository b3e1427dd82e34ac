"""Labels of positions along dimensions: NumPy arrays, or pandas indexes where these say more."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.errors import RequestError
from pyro_posterior.labels import OBSERVATIONS, SPATIAL, TAKEN, dim_lengths, obs_dim, site_dims


def dim_coords(
    lengths: Mapping[str, int],
    obs_dim: str | None,
    known: Mapping[str, Any],
    given: Mapping[str, Any] | None = None,
    sites: Iterable[str] = (),
) -> dict[str, Any]:
    """Labels by dimension.

    Parameters
    ----------
    lengths
        Length of every dimension.
    obs_dim
        Dimension of the observations, which also goes by the name ``obs``.
    known
        Labels the posterior has; those that fit no dimension are left out.
    given
        Labels from the user; they win, and each must fit.
    sites
        Names of sites, which no level may have.

    Returns
    -------
    dict
        Arrays, or pandas indexes for what an array does not hold: levels, categories, intervals,
        periods and time zones.

    Raises
    ------
    RequestError
        Given labels for an unknown dimension, as many as it is not long, or no list of labels.
    """
    coords: dict[str, Any] = {}
    for source, strict in ((known, False), (given or {}, True)):
        if not isinstance(source, Mapping):
            raise RequestError(f"coords must be a dict, dimension to labels, found {source!r}")
        for name, values in source.items():
            dim = obs_dim if name == OBSERVATIONS and name not in lengths and obs_dim else name
            labels = as_labels(name, values)
            if lengths.get(dim) == len(labels):
                coords[dim] = labels
            elif strict:
                length = lengths.get(dim)
                found = f"of length {length}" if length is not None else "unknown"
                raise RequestError(
                    f"coords gives {len(labels)} labels for dimension {name!r}, which is {found}. "
                    f"The dimensions are {dict(lengths)}"
                )
    _check_levels(coords, {*lengths, *sites, *TAKEN})
    return coords


def as_labels(name: str, values: Any) -> Any:
    """Labels as one NumPy array, or as a pandas index where that says more.

    Raises
    ------
    RequestError
        Not one label for every position.
    """
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(
        values, pandas.Index | pandas.Series | pandas.api.extensions.ExtensionArray
    ):
        return _plain(values if isinstance(values, pandas.Index) else pandas.Index(values))
    array = np.empty(())
    if not isinstance(values, str | bytes | Mapping | set | frozenset | Iterator):
        try:
            array = np.asarray(values)
        except (ValueError, TypeError):  # of lists of other lengths, of other devices
            array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.names:
        shape = f"an array of shape {array.shape}" if array.ndim else f"a {type(values).__name__}"
        raise RequestError(
            f"coords gives {'records' if array.dtype.names else shape} for dimension {name!r}: give "
            "one label for every position, such as a list; several for each as a pandas.MultiIndex"
        )
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):  # no index holds others
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    if array.dtype.kind == "T":
        array = array.astype(object)
    made_text = array.dtype.kind in "US" and not hasattr(values, "__array__")
    if made_text and not all(isinstance(value, str) for value in values):
        array = np.array([*values, None], dtype=object)[:-1]  # 1 beside "1" are two labels
    if array.dtype.kind == "O" and pandas is not None:
        return _plain(pandas.Index(array))
    return array


def _plain(index: Any) -> Any:
    """The index as an array where that loses nothing."""
    if type(index).__name__ == "MultiIndex" or not isinstance(index.dtype, np.dtype):
        if index.dtype.kind in "biufOUT" and type(index).__name__ == "Index":
            # Whole numbers or text that pandas keeps in its own way; what is missing is None, or NaN.
            missing = index.hasnans and index.dtype.kind in "bOUT"
            return index.to_numpy(object, na_value=None) if missing else index.to_numpy()
        return index
    return index.to_numpy()


def plain_labels(labels: Any) -> np.ndarray:
    """Labels as an array, those of an index in its own words."""
    if isinstance(labels, np.ndarray):
        return labels
    if hasattr(labels, "levels"):
        return np.array([*map(_joined, labels), None], dtype=object)[:-1]
    return np.asarray(labels.astype(str), dtype=object)


def _joined(values: tuple[Any, ...]) -> str:
    return ", ".join(map(str, values))


def level_names(dim: str, index: Any) -> list[str]:
    """Names of the levels of a pandas.MultiIndex; ``<dim>_level_<i>`` for those without."""
    return [
        f"{dim}_level_{place}" if name is None else str(name)
        for place, name in enumerate(index.names)
    ]


def _check_levels(coords: Mapping[str, Any], taken: set[str]) -> None:
    for dim, labels in coords.items():
        for name in level_names(dim, labels) if hasattr(labels, "levels") else ():
            if name in taken:
                raise RequestError(
                    f"coords gives dimension {dim!r} a level {name!r}, which is the name of "
                    "another level, of a dimension or of a site: rename it, as in "
                    "index.set_names([...])"
                )
            taken.add(name)


def labelled(
    plan: RunPlan, coords: Mapping[str, Any] | None, names: Mapping[str, Any] | None
) -> tuple[RunPlan, dict[str, Any]]:
    """A plan with its axes named by the host, and all labels, checked.

    Parameters
    ----------
    plan
        Of the run, axes named by plates and by the user.
    coords
        Labels by dimension from the user, who wins.
    names
        What the host knows: names of observations (``obs``), variables (``var``), factors
        (``factor``), and where observations lie (``spatial x``, ``spatial y``). An axis that is no plate, and as long as there are names of one kind only,
        has these.

    Raises
    ------
    RequestError
        ``coords`` do not fit.
    """
    known = {name: as_labels(name, values) for name, values in (names or {}).items()}
    others = {x: labels for x, labels in known.items() if x not in (OBSERVATIONS, *SPATIAL)}
    sites = tuple(_named_by_length(site, plan.num_obs, others) for site in plan.sites)
    plan = replace(plan, sites=sites)
    dims = site_dims(plan)
    lengths = dim_lengths(plan, dims)
    dim_coords(lengths, obs_dim(plan, dims), known, coords, dims)  # raises where these do not fit
    return plan, {**known, **{name: as_labels(name, v) for name, v in (coords or {}).items()}}


def _named_by_length(site: Site, num_obs: int, names: Mapping[str, Any]) -> Site:
    shape = site.full_shape(num_obs)
    dims: list[str | None] = list(site.dims or (None,) * len(shape))
    for axis, length in enumerate(shape):
        fitting = [name for name, labels in names.items() if len(labels) == length]
        if dims[axis] is None and length > 1 and length != num_obs and len(fitting) == 1:
            again = [other for other, size in enumerate(shape) if size == length and other != axis]
            if not again:  # of two axes as long, nobody knows which one is meant
                dims[axis] = fitting[0]
    return replace(site, dims=tuple(dims))
