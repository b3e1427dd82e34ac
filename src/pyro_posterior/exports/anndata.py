"""Summaries of a posterior into an AnnData: per cell to obsm, per gene to varm, the rest to uns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.exports.names import plain_name
from pyro_posterior.labelled import as_labels, plain_labels
from pyro_posterior.labels import obs_dim, site_dims
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
    and so on for other summaries, with dots for slashes. Draws are never put into ``adata``. Rows
    follow the names of observations and genes where the posterior knows these.

    Parameters
    ----------
    posterior
        Result of `sample_posterior` for the observations of ``adata``.
    adata
        An ``AnnData`` (also a backed one; it is not written).
    factor_names
        Names of factors or cell types. Tables of local and gene-wise sites with as many columns
        become DataFrames with these column names. A dict gives names by site. None: labels that
        the posterior has for that axis.
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
    if not hasattr(adata, "obsm"):
        raise RequestError(f"to_anndata puts results into an AnnData, found {adata!r:.80}")
    rows = _rows(posterior, adata)
    named = posterior.coords.get("var")
    genes = _order("var", named, adata.var_names) if _has_genes(posterior, adata) else slice(None)
    rest: dict[str, Any] = {
        "num_samples": posterior.plan.num_samples,
        "seed": posterior.seed,
        "engine": posterior.plan.engine,
    }
    chosen = _chosen(posterior, sites)
    _check_names(posterior, chosen, factor_names)
    for key, arrays in posterior.items():
        if key == "posterior_samples":
            continue
        for site in chosen:
            name = f"{key.removeprefix('post_sample_')}_{plain_name(posterior, site)}"
            value = np.asarray(arrays[site.name])
            if value.shape != site.full_shape(posterior.plan.num_obs):  # several numbers for each
                rest[name] = value
            elif site.batch_axis is not None and site.rows_per_obs == 1:
                axis = value.ndim + site.batch_axis
                names = _names_of(posterior, site, axis, factor_names)
                adata.obsm[name] = _table(np.moveaxis(value, axis, 0)[rows], adata.obs_names, names)
            elif (gene := _gene_axis(posterior, site, adata)) is not None:
                table = np.moveaxis(value, gene, 0).reshape(adata.n_vars, -1)[genes]
                names = _names_of(posterior, site, gene, factor_names)
                adata.varm[name] = _table(table, adata.var_names, names)
            else:
                rest[name] = value
    adata.uns[uns_key] = rest
    return adata


def _rows(posterior: Posterior, adata: Any) -> Any:
    """Rows of the result in the order of ``adata``."""
    plan = posterior.plan
    if not plan.local_sites:
        return slice(None)
    names = posterior.coords.get("obs")
    if names is None:
        names = posterior.coords.get(obs_dim(plan, site_dims(plan)) or "obs")
    if names is None and plan.num_obs != adata.n_obs:
        raise RequestError(
            f"the posterior has {plan.num_obs} observations, adata {adata.n_obs}: pass the "
            "AnnData of just these observations, in their order"
        )
    return _order("obs", names, adata.obs_names)


def _has_genes(posterior: Posterior, adata: Any) -> bool:
    return any(_gene_axis(posterior, site, adata) is not None for site in posterior.plan.sites)


def _gene_axis(posterior: Posterior, site: Site, adata: Any) -> int | None:
    """The axis of a global site that runs over genes: by its name, else the last one so long."""
    dims = site_dims(posterior.plan)[site.name]
    if site.scope != "global" or adata.n_vars not in site.shape:
        return None
    if "var" in dims and site.shape[dims.index("var")] == adata.n_vars:
        return dims.index("var")
    return max(axis for axis, size in enumerate(site.shape) if size == adata.n_vars)


def _order(dim: str, names: Any, wanted: Any) -> Any:
    """Where ``wanted`` names of an AnnData are among the names of the posterior."""
    if names is None:
        return slice(None)
    ours, theirs = plain_labels(as_labels(dim, names)).tolist(), list(wanted)
    if ours == theirs and [*map(type, ours)] == [*map(type, theirs)]:
        return slice(None)
    if not _told_apart(ours, theirs):
        # AnnData makes text of names that are none when it is copied or written.
        texts, wanted_texts = [*map(str, ours)], [*map(str, theirs)]
        if not _told_apart(texts, wanted_texts):
            what = "observations" if dim == "obs" else "variables"
            raise RequestError(
                f"the names of the {what} are not those of adata: the posterior has {len(ours)} "
                f"({len(set(texts))} different ones, as text), adata {len(theirs)}, of which "
                f"{len(set(wanted_texts) - set(texts))} are not among them. Pass an AnnData with "
                f"each of posterior.coords[{dim!r}] once; or, where the order is known to be the "
                f"same, take the names away: posterior.coords.pop({dim!r})"
            )
        ours, theirs = texts, wanted_texts
    place = {name: row for row, name in enumerate(ours)}
    return np.array([place[name] for name in theirs], dtype=np.intp)


def _told_apart(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether both have the same names, of the same types, each once."""
    typed = [{(type(name), name) for name in names} for names in (ours, theirs)]
    return typed[0] == typed[1] and len(typed[0]) == len(ours)


def _chosen(posterior: Posterior, sites: Iterable[str] | None) -> list[Site]:
    if sites is None:
        return list(posterior.plan.sites)
    return [posterior.site(name) for name in ([sites] if isinstance(sites, str) else sites)]


def _names_of(
    posterior: Posterior, site: Site, row_axis: int, factor_names: FactorNames | None
) -> list[str] | None:
    """Names of the columns: those given, else the labels of the one other axis."""
    if isinstance(factor_names, Mapping):
        if site.name in factor_names:
            return list(factor_names[site.name])
    elif factor_names is not None:
        return list(factor_names)
    if len(site.shape) != 2:
        return None
    dim = site_dims(posterior.plan)[site.name][1 - row_axis]
    if dim in ("obs", "var") or (labels := posterior.coords.get(dim)) is None:
        return None
    names: list[str] = plain_labels(as_labels(dim, labels)).astype(str).tolist()
    return names if len(set(names)) == len(names) else None


def _check_names(posterior: Posterior, sites: list[Site], factor_names: FactorNames | None) -> None:
    if isinstance(factor_names, str):
        raise RequestError(f"factor_names must be a list of names, found {factor_names!r}")
    if factor_names is not None and not isinstance(factor_names, Mapping):
        shapes = {site.name: site.full_shape(posterior.plan.num_obs) for site in sites}
        if not any(len(shape) == 2 and len(factor_names) in shape for shape in shapes.values()):
            raise RequestError(
                f"factor_names has {len(factor_names)} names, and no site is a table with as many "
                f"columns: {shapes}"
            )
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
