"""`summary`: a table with a row for every value, as ArviZ prints one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.exports.pandas import site_columns
from pyro_posterior.labelled import dim_coords
from pyro_posterior.labels import dim_lengths, obs_dim, site_dims
from pyro_posterior.posterior import Posterior
from pyro_posterior.reductions.mcse import SUFFIX, independent_error, mean_error
from pyro_posterior.reductions.names import named

#: Values of a site beyond which it has one row without numbers, unless it is asked for by name.
MOST_VALUES = 1000

#: What the errors in the table are.
TOLD = "from independent parts of the draws (mcse=True)"
BOUNDS = "of as many independent draws: an upper bound where draws are stratified"

_COLUMNS = {"means": "mean", "stds": "sd", "medians": "median"}


def summary(
    posterior: Posterior,
    sites: str | Iterable[str] | None = None,
    *,
    max_values: int = MOST_VALUES,
) -> Any:
    """A table with a row for every value of the sites, named ``w[label, label]``.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave.
    sites
        Name or names of the sites; None: all, where a site of more than ``max_values`` values
        has one row that says how many and holds no numbers.
    max_values
        Most values of a site that was not asked for by name.

    Returns
    -------
    pandas.DataFrame
        Columns ``mean``, ``sd``, ``eti_5%`` and ``eti_95%`` (the quantiles), other summaries by
        their own names, and Monte Carlo errors as ``mcse_mean`` and so on. Of a run without
        ``mcse=True`` these are errors of as many independent draws, an upper bound for stratified
        ones: of the mean, and of the others where the draws were kept. ``table.attrs["mcse"]``
        says which they are.

    Raises
    ------
    RequestError
        The posterior has no such site, or only draws.
    MissingPackageError
        pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError("pandas", "arviz", "summary") from error
    if not any(name.startswith("post_sample_") for name in posterior):
        raise RequestError(f"the posterior holds no summaries, only {list(posterior)}")
    names = [sites] if isinstance(sites, str) else sites
    chosen = list(posterior.plan.sites) if names is None else [*map(posterior.site, names)]
    dims = site_dims(posterior.plan)
    labels = dim_coords(
        dim_lengths(posterior.plan, dims), obs_dim(posterior.plan, dims), posterior.coords
    )
    told = any(name.endswith(SUFFIX) for name in posterior)
    tables = []
    for site in chosen:
        size = math.prod(site.full_shape(posterior.plan.num_obs))
        if names is None and size > max_values:
            tables.append(pandas.DataFrame(index=[_too_large(posterior, site)]))
            continue
        columns = site_columns(posterior, site.name, dims, labels)
        if not told:
            columns |= _bounds(posterior, site.name, size)
        index, values = _index(site, columns, dims[site.name], labels, size)
        tables.append(pandas.DataFrame(values, index=index))
    table = pandas.concat(tables) if tables else pandas.DataFrame()
    table.attrs["mcse"] = TOLD if told else BOUNDS
    return table


def _bounds(posterior: Posterior, site: str, size: int) -> dict[str, Any]:
    """Errors that the summaries of independent draws would have, as columns."""
    count = posterior.plan.num_samples
    held = posterior.get("posterior_samples", {})
    draws = np.asarray(held[site]).reshape(count, -1) if site in held else None
    found: dict[str, Any] = {}
    for result, arrays in posterior.items():
        title = result.removeprefix("post_sample_")
        try:
            statistic = named(title)
        except RequestError:
            continue
        value = np.asarray(arrays[site])
        if value.size != size:
            continue
        if draws is not None and draws.dtype.kind in "fiub":
            with np.errstate(all="ignore"):
                error = independent_error(statistic, draws, value.reshape(-1))
        elif statistic.kind == "mean" and site in posterior.stds:
            error = mean_error(np.asarray(posterior.stds[site]).reshape(-1), count)
        else:
            error = None
        if error is not None:
            found[title + SUFFIX] = error
    return found


def _index(
    site: Site,
    columns: Mapping[str, Any],
    dims: tuple[str, ...],
    labels: Mapping[str, Any],
    size: int,
) -> tuple[list[str], dict[str, Any]]:
    """Names of the rows, and the columns that are numbers."""
    ahead = sum(len(getattr(labels.get(dim), "levels", (1,))) for dim in dims)
    places, numbers = list(columns.items())[:ahead], list(columns.items())[ahead:]
    values = {_title(name): column for name, column in numbers}
    if not places:
        return [site.name] * size, values
    return [
        f"{site.name}[{', '.join(map(str, row))}]"
        for row in zip(*(column for _, column in places), strict=True)
    ], values


def _title(name: str) -> str:
    if name.endswith(SUFFIX):
        return f"mcse_{_title(name.removesuffix(SUFFIX))}"
    if name.startswith("q") and name[1:].isdigit() and len(name) > 2:
        return f"eti_{float(f'0.{name[1:]}') * 100:g}%"
    return _COLUMNS.get(name, name)


def _too_large(posterior: Posterior, site: Site) -> str:
    shape = " × ".join(f"{n:,}" for n in site.full_shape(posterior.plan.num_obs))
    return f"{site.name} ({shape} values: summary({site.name!r}))"
