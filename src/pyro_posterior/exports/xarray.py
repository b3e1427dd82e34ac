"""A posterior as labelled xarray data: dimensions are plates, positions along them have names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from pyro_posterior.errors import MissingPackageError
from pyro_posterior.exports.names import plain_name
from pyro_posterior.labelled import dim_coords, level_names
from pyro_posterior.labels import dim_lengths, obs_dim, site_dims
from pyro_posterior.posterior import Posterior

_DRAWS = "posterior_samples"

#: Group of draws, in ArviZ's words, for each kind of site.
GROUPS: Mapping[str, str] = {
    "latent": "posterior",
    "deterministic": "posterior",
    "derived": "posterior",
    "predicted": "posterior_predictive",
    "density": "log_likelihood",
    "observed": "observed_data",
}


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
        with one chain; those on disk stay there until they are asked for. ``posterior_samples``
        has latent and deterministic sites; draws of others are in groups of their own, as in
        `to_arviz`.

    Raises
    ------
    RequestError
        ``dims`` or ``coords`` do not fit.
    MissingPackageError
        xarray is not installed.
    """
    xarray = _need_xarray("to_xarray")
    groups = {
        name: to_dataset(posterior, name, dims=dims, coords=coords)
        for name in posterior
        if name != _DRAWS
    }
    if _DRAWS in posterior:
        found = draw_groups(posterior, dims=dims, coords=coords)
        groups |= {_DRAWS if name == "posterior" else name: found[name] for name in found}
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
    arrays = posterior[result]
    names = [sites] if isinstance(sites, str) else arrays if sites is None else sites
    wanted = [posterior.site(name) for name in names]
    named = site_dims(posterior.plan, dims)
    variables = {
        plain_name(posterior, site): _variable(
            xarray, arrays[site.name], named[site.name], site.name, result
        )
        for site in wanted
    }
    lengths = dim_lengths(posterior.plan, named)
    labels = dim_coords(lengths, obs_dim(posterior.plan, named), posterior.coords, coords, named)
    used = {dim for variable in variables.values() for dim in variable.dims}
    positions = _positions(xarray, {dim: labels[dim] for dim in labels if dim in used})
    if result == _DRAWS:
        positions |= {"chain": np.arange(1), "draw": np.arange(posterior.plan.num_samples)}
    return xarray.Dataset(variables, positions, attributes(posterior))


def _positions(xarray: ModuleType, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Coordinates as xarray makes them of the labels' own kinds; levels are coordinates too."""
    found: dict[str, Any] = {}
    for dim, values in labels.items():
        if hasattr(values, "levels"):
            index = values.set_names(level_names(dim, values))
            found |= dict(xarray.Coordinates.from_pandas_multiindex(index, dim))
        else:
            found[dim] = values
    return found


def draw_groups(
    posterior: Posterior,
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Draws as a Dataset for each of ArviZ's groups that has sites, in their order in `GROUPS`."""
    groups: dict[str, Any] = {}
    for group in dict.fromkeys(GROUPS.values()):
        sites = [
            site.name
            for site in posterior.plan.sites
            if GROUPS[site.kind] == group and site.name in posterior[_DRAWS]
        ]
        if sites:
            dataset = to_dataset(posterior, _DRAWS, sites=sites, dims=dims, coords=coords)
            if group == "observed_data":  # the same in every draw
                dataset = dataset.isel(chain=0, draw=0, drop=True)
                dataset = dataset.rename(_names_of_data(dataset, groups))
            groups[group] = dataset
    return groups | _densities(posterior, groups)


def _densities(posterior: Posterior, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Log densities of observations and of joint draws, where they were asked for."""
    xarray = _need_xarray("to_xarray")
    rows = list(posterior.partials("log_likelihood"))
    if not rows:
        return {}
    values = np.concatenate([part["draws"] for part in rows], axis=1)
    observed = list(groups.get("observed_data", ()))
    name = observed[0] if len(observed) == 1 else "obs"
    dim = posterior.plan.obs_plate or "obs"
    likelihood = xarray.Dataset({name: (("chain", "draw", dim), values[None])})
    stats = {"log_p": posterior.log_p, "log_q": posterior.log_q}
    return {
        "log_likelihood": likelihood.assign_coords(
            chain=[0], draw=np.arange(values.shape[0]), **_labels_along(posterior, dim)
        ),
        "sample_stats": xarray.Dataset(
            {key: (("chain", "draw"), value[None]) for key, value in stats.items()},
            {"chain": [0], "draw": np.arange(values.shape[0])},
        ),
    }


def _labels_along(posterior: Posterior, dim: str) -> dict[str, Any]:
    labels = posterior.coords.get(dim, posterior.coords.get("obs"))
    return {} if labels is None or len(labels) != posterior.plan.num_obs else {dim: (dim, labels)}


def _names_of_data(dataset: Any, groups: Mapping[str, Any]) -> dict[str, str]:
    """Data of a predicted site go by its name, as ArviZ compares the two groups."""
    predicted = groups.get("posterior_predictive", {})
    names = {name: str(name).removesuffix("_observed") for name in dataset.data_vars}
    return {name: bare for name, bare in names.items() if bare != name and bare in predicted}


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


def _need_xarray(purpose: str) -> ModuleType:
    try:
        import xarray
    except ImportError as error:
        raise MissingPackageError("xarray", "arviz", purpose) from error
    return xarray
