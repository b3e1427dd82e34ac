"""A posterior as labelled xarray data: dimensions are plates, positions along them have names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.labels import dim_coords, dim_lengths, obs_dim, site_dims
from pyro_posterior.posterior import Posterior

_DRAWS = "posterior_samples"


def to_xarray(
    posterior: Posterior,
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Any:
    """All results, one group each: ``tree["post_sample_means"]["z"]``.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave.
    dims
        ``{site: names}`` of the axes of one draw, all or the last ones, for axes that are no plate;
        without it they are called ``<site>_dim_<axis>``.
    coords
        ``{dimension: labels}``. ``obs`` stands for the dimension of the observations. Labels the
        posterior already has (of an AnnData) are used where none are given.

    Returns
    -------
    xarray.DataTree
        Groups named as the keys of the posterior. Draws have dimensions ``(chain, draw, ...)``
        with one chain; those on disk stay there until they are asked for.

    Raises
    ------
    RequestError
        ``dims`` or ``coords`` do not fit.
    MissingPackageError
        xarray is not installed.
    """
    xarray = _need_xarray("to_xarray")
    groups = {name: to_dataset(posterior, name, dims=dims, coords=coords) for name in posterior}
    tree = xarray.DataTree.from_dict(groups)
    tree.attrs.update(attributes(posterior))
    return tree


def to_dataset(
    posterior: Posterior,
    result: str,
    *,
    sites: Sequence[str] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Any:
    """One result, such as ``"post_sample_means"`` or ``"posterior_samples"``.

    Parameters
    ----------
    posterior, dims, coords
        As for `to_xarray`.
    result
        A key of the posterior.
    sites
        Names of the sites wanted; None: all.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    RequestError
        The posterior has no such result or site, or ``dims`` or ``coords`` do not fit.
    MissingPackageError
        xarray is not installed.
    """
    xarray = _need_xarray("to_dataset")
    arrays = _result(posterior, result)
    wanted = [_site(posterior, name) for name in (arrays if sites is None else sites)]
    named = site_dims(posterior.plan, dims)
    variables = {
        _variable_name(posterior, site): _variable(
            xarray, arrays[site.name], named[site.name], site.name, result
        )
        for site in wanted
    }
    lengths = dim_lengths(posterior.plan, named)
    labels = dim_coords(lengths, obs_dim(posterior.plan, named), posterior.coords, coords)
    used = {dim for variable in variables.values() for dim in variable.dims}
    positions: dict[str, Any] = {dim: values for dim, values in labels.items() if dim in used}
    if result == _DRAWS:
        positions |= {"chain": np.arange(1), "draw": np.arange(posterior.plan.num_samples)}
    return xarray.Dataset(variables, positions, attributes(posterior))


def attributes(posterior: Posterior) -> dict[str, Any]:
    """What a reader of the data wants to know of the run, in ArviZ's words where it has them."""
    versions = posterior.info.get("versions", {})
    named = {
        "inference_library": "pyro",
        "inference_library_version": versions.get("pyro-ppl"),
        "creation_library": "pyro-posterior",
        "creation_library_version": versions.get("pyro-posterior"),
        "sampling_time": posterior.info.get("seconds"),
        "seed": str(posterior.seed),  # a string: files of labelled data hold at most 64 bits
        "engine": posterior.plan.engine,
    }
    return {name: value for name, value in named.items() if value is not None}


def _variable_name(posterior: Posterior, site: Site) -> str:
    """The site's name; with dots for the slashes of scopes, which xarray takes for paths."""
    if site.name in ("chain", "draw"):  # dimensions of draws
        return f"{site.name}_"
    dotted = site.name.replace("/", ".")
    taken = dotted != site.name and dotted in posterior.sites
    return site.name.replace("/", "%2F") if taken else dotted


def _variable(xarray: ModuleType, array: Any, dims: tuple[str, ...], site: str, result: str) -> Any:
    if result == _DRAWS:
        return xarray.Variable(("chain", "draw", *dims), _with_chain(xarray, array))
    ahead = np.ndim(array) - len(dims)  # a summary of several numbers
    more = tuple(f"{site}_{result}_{axis}" for axis in range(ahead))
    return xarray.Variable((*more, *dims)[max(0, -ahead) :], np.asarray(array))


def _with_chain(xarray: ModuleType, array: Any) -> Any:
    """The array with an axis of one chain in front, read from disk only when asked."""
    if isinstance(array, np.ndarray):
        return array[None]
    from xarray.core import indexing

    class Lazy(xarray.backends.BackendArray):  # type: ignore[name-defined]
        shape = (1, *array.shape)
        dtype = array.dtype

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(
                key, self.shape, indexing.IndexingSupport.BASIC, _read
            )

    def _read(key: tuple[Any, ...]) -> np.ndarray:
        part = array[tuple(key[1:])]
        return part if isinstance(key[0], int | np.integer) else part[None][key[0]]

    return indexing.LazilyIndexedArray(Lazy())


def _result(posterior: Posterior, result: str) -> Mapping[str, Any]:
    if result not in posterior:
        hint = ": draw with return_samples=True" if result == _DRAWS else ""
        raise RequestError(f"the posterior has no {result!r}{hint}. It has {list(posterior)}")
    return posterior[result]


def _site(posterior: Posterior, name: str) -> Site:
    if name not in posterior.sites:
        raise RequestError(
            f"the posterior has no site {name!r}. Its sites are {list(posterior.sites)}"
        )
    return posterior.sites[name]


def _need_xarray(purpose: str) -> ModuleType:
    try:
        import xarray
    except ImportError as error:
        raise MissingPackageError("xarray", "arviz", purpose) from error
    return xarray
