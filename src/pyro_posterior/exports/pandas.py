"""A posterior as tidy tables: a row for every value, a column for every summary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.labelled import dim_coords, level_names
from pyro_posterior.labels import dim_lengths, obs_dim, site_dims
from pyro_posterior.posterior import Posterior

_PREFIX = "post_sample_"
_DRAWS = "posterior_samples"


def to_pandas(
    posterior: Posterior,
    site: str | None = None,
    *,
    draws: bool = False,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Any:
    """A table of one site, or of all sites that are single numbers.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave.
    site
        Name of the site; None: all sites with one value, a row each.
    draws
        Give every draw in a row, as columns ``draw`` and ``value``, instead of summaries.
    dims, coords
        As for `to_xarray`; they name the columns that tell the rows apart, and what stands there.

    Returns
    -------
    pandas.DataFrame
        Columns: ``site`` (for ``site=None``) or one for each dimension; then ``means``, ``stds``,
        ``q05``, ``q95`` or what summaries there are.

    Raises
    ------
    RequestError
        The posterior has no such site, no draws, or ``dims`` or ``coords`` do not fit.
    MissingPackageError
        pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError("pandas", "arviz", "to_pandas") from error
    if draws and _DRAWS not in posterior:
        raise RequestError("the posterior has no draws: draw with return_samples=True")
    named = site_dims(posterior.plan, dims)
    labels = dim_coords(
        dim_lengths(posterior.plan, named), obs_dim(posterior.plan, named), posterior.coords, coords
    )
    if site is not None:
        return pandas.DataFrame(site_columns(posterior, site, named, labels, draws))
    shapes = {s.name: s.full_shape(posterior.plan.num_obs) for s in posterior.plan.sites}
    single = [name for name, shape in shapes.items() if math.prod(shape) == 1]
    tables = []
    for name in single:
        columns = site_columns(posterior, name, named, labels, draws)
        kept = {key: value for key, value in columns.items() if key not in named[name]}
        tables.append(pandas.DataFrame({"site": [name] * len(next(iter(kept.values()))), **kept}))
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame({"site": []})


def site_columns(
    posterior: Posterior,
    name: str,
    dims: Mapping[str, tuple[str, ...]],
    labels: Mapping[str, Any],
    draws: bool = False,
) -> dict[str, Any]:
    """The columns of one site's table, all of the same length: its axes, then its numbers."""
    shape = posterior.site(name).full_shape(posterior.plan.num_obs)
    ahead = {"draw": np.arange(posterior.plan.num_samples)} if draws else {}
    axes = {dim: labels.get(dim, np.arange(n)) for dim, n in zip(dims[name], shape, strict=True)}
    axes = {**ahead, **axes}
    grid = np.meshgrid(*(np.arange(len(x)) for x in axes.values()), indexing="ij") if axes else []
    columns: dict[str, Any] = {}
    for (dim, values), places in zip(axes.items(), grid, strict=True):
        columns |= _label_columns(dim, values, places.ravel())
    if draws:
        return {**columns, "value": np.asarray(posterior[_DRAWS][name]).ravel()}
    for result, arrays in posterior.items():
        if result != _DRAWS:
            columns |= _summary(result.removeprefix(_PREFIX), np.asarray(arrays[name]), shape)
    return columns


def _label_columns(dim: str, labels: Any, places: np.ndarray) -> dict[str, Any]:
    """The labels at these places: a column, or one for each level; categories stay categories."""
    if not hasattr(labels, "levels"):
        return {dim: labels[places]}
    names = level_names(dim, labels)
    return {name: labels.get_level_values(i)[places] for i, name in enumerate(names)}


def _summary(title: str, values: np.ndarray, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """One column, or several for a summary of several numbers; none for one of another shape."""
    size = math.prod(shape)
    if values.size == size:
        return {title: values.ravel()}
    if size and values.shape[values.ndim - len(shape) :] == shape:
        parts = values.reshape(-1, size)
        return {f"{title}_{place}": part for place, part in enumerate(parts)}
    return {}
