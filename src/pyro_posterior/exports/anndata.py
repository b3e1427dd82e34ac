"""Summaries of a posterior into an AnnData: per cell to obsm, per gene to varm, the rest to uns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.posterior import Posterior

#: Names of the columns, for all sites so wide or by site.
FactorNames = Sequence[str] | Mapping[str, Sequence[str]]


def to_anndata(
    posterior: Posterior,
    adata: Any,
    *,
    factor_names: FactorNames | None = None,
    sites: Iterable[str] | None = None,
    uns_key: str = "pyro_posterior",
) -> Any:
    """Put the summaries of a posterior into ``adata``, in place.

    A summary of a site is named ``means_<site>``, ``stds_<site>``, ``q05_<site>``, ``q95_<site>``
    and so on for other summaries. Draws are never put into ``adata``.

    Parameters
    ----------
    posterior
        Result of `sample_posterior` for the observations of ``adata``.
    adata
        An ``AnnData`` (also a backed one; it is not written).
    factor_names
        Names of factors or cell types. Tables of local and gene-wise sites with as many columns
        become DataFrames with these column names. A dict gives names by site.
    sites
        Sites to put; None: all.
    uns_key
        Key in ``adata.uns`` of a dict for the sites that are neither per observation nor per
        gene, and for ``num_samples``, ``seed`` and ``engine`` of the run.

    Returns
    -------
    AnnData
        ``adata``, with

        * ``obsm[<name>]`` ``(observation, *rest)`` for local sites,
        * ``varm[<name>]`` ``(gene, rest)`` for global sites with an axis as long as there are
          genes (the last such axis; the others in their order),
        * ``uns[uns_key][<name>]`` for other global sites, in their own shape.

    Raises
    ------
    RequestError
        Observations that do not match ``adata``, unknown sites, or names of another number than
        columns.
    """
    if not isinstance(posterior, Posterior):
        raise RequestError(
            f"to_anndata takes the Posterior that sample_posterior returns, found a "
            f"{type(posterior).__name__}: sample with pyro_posterior, or pass model.samples of a "
            "model that did"
        )
    rows = _rows(posterior, adata)
    rest: dict[str, Any] = {
        "num_samples": posterior.plan.num_samples,
        "seed": posterior.seed,
        "engine": posterior.plan.engine,
    }
    chosen = _chosen(posterior, sites)
    _check_names(chosen, factor_names)
    for key, arrays in posterior.items():
        if key == "posterior_samples":
            continue
        for site in chosen:
            name = f"{key.removeprefix('post_sample_')}_{site.name}"
            value = np.asarray(arrays[site.name])
            names = _names_of(site, factor_names)
            if site.batch_axis is not None and site.rows_per_obs == 1:
                table = np.moveaxis(value, value.ndim + site.batch_axis, 0)[rows]
                adata.obsm[name] = _table(table, adata.obs_names, names)
            elif site.scope == "global" and adata.n_vars in value.shape:
                axis = max(i for i, size in enumerate(value.shape) if size == adata.n_vars)
                table = np.moveaxis(value, axis, 0).reshape(adata.n_vars, -1)
                adata.varm[name] = _table(table, adata.var_names, names)
            else:
                rest[name] = value
    adata.uns[uns_key] = rest
    return adata


def _rows(posterior: Posterior, adata: Any) -> Any:
    """Rows of the result in the order of ``adata``."""
    if not posterior.plan.local_sites:
        return slice(None)
    number = posterior.plan.num_obs
    names = posterior.coords.get("obs")
    if names is None:
        if number != adata.n_obs:
            raise RequestError(
                f"the posterior has {number} observations, adata {adata.n_obs}: pass the AnnData "
                "of just these observations, in their order"
            )
        return slice(None)
    names = np.asarray(names)
    if np.array_equal(names, adata.obs_names.to_numpy()):
        return slice(None)
    place = {name: row for row, name in enumerate(names)}
    missing = [name for name in adata.obs_names if name not in place]
    if missing or len(place) != number or number != adata.n_obs:
        raise RequestError(
            f"the posterior is of {number} observations ({len(place)} different ones), adata has "
            f"{adata.n_obs}, of which {len(missing)} are not in it: pass adata[names].copy() with "
            "names = posterior.coords['obs'], each once"
        )
    return np.array([place[name] for name in adata.obs_names])


def _chosen(posterior: Posterior, sites: Iterable[str] | None) -> list[Site]:
    known = posterior.sites
    if sites is None:
        return list(known.values())
    names = [sites] if isinstance(sites, str) else list(sites)
    if unknown := sorted(set(names) - set(known)):
        raise RequestError(f"sites {unknown} are not in the posterior; it has {list(known)}")
    return [known[name] for name in names]


def _names_of(site: Site, factor_names: FactorNames | None) -> list[str] | None:
    if isinstance(factor_names, Mapping):
        return list(factor_names[site.name]) if site.name in factor_names else None
    return None if factor_names is None else list(factor_names)


def _check_names(sites: list[Site], factor_names: FactorNames | None) -> None:
    if isinstance(factor_names, str):
        raise RequestError(f"factor_names must be a list of names, found {factor_names!r}")
    if isinstance(factor_names, Mapping):
        known = {site.name for site in sites}
        if unknown := sorted(set(factor_names) - known):
            raise RequestError(f"factor_names has names for {unknown}; the sites are {known}")


def _table(table: np.ndarray, index: Any, names: list[str] | None) -> Any:
    """The table, as a DataFrame where the names are as many as its columns."""
    if table.ndim == 1:
        table = table[:, None]
    if names is None or table.ndim != 2 or table.shape[1] != len(names):
        return table
    import pandas

    return pandas.DataFrame(table, index=index, columns=names)
