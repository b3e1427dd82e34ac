"""A posterior for ArviZ: InferenceData where ArviZ has that class, a DataTree where it does not."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_posterior.errors import MissingPackageError
from pyro_posterior.exports.xarray import to_dataset
from pyro_posterior.posterior import Posterior


def to_arviz(
    posterior: Posterior,
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Any:
    """Draws of all latent and deterministic sites as ``posterior``, observed ones as ``observed_data``.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave with ``return_samples=True``; observed sites are there with
        ``return_observed=True``.
    dims, coords
        As for `to_xarray`.

    Returns
    -------
    arviz.InferenceData or xarray.DataTree
        What the installed ArviZ works with (0.x or 1.x). Draws are one chain.

    Raises
    ------
    RequestError
        No draws, or ``dims`` or ``coords`` do not fit.
    MissingPackageError
        ArviZ is not installed.
    """
    arviz = _need_arviz()
    kinds = {name: site.kind for name, site in posterior.sites.items()}
    drawn = [name for name, kind in kinds.items() if kind != "observed"]
    observed = [name for name, kind in kinds.items() if kind == "observed"]
    made = {"created_at": datetime.datetime.now(datetime.UTC).isoformat()}

    def group(sites: list[str]) -> Any:
        dataset = to_dataset(posterior, "posterior_samples", sites=sites, dims=dims, coords=coords)
        return dataset.assign_attrs(made)

    groups = {}
    if drawn:
        groups["posterior"] = group(drawn)
    if observed:  # the same in every draw
        groups["observed_data"] = group(observed).isel(chain=0, draw=0, drop=True)
    if "InferenceData" in vars(arviz):  # in 1.x looking that name up gives DataTree, and a warning
        return arviz.InferenceData(**groups)
    import xarray

    return xarray.DataTree.from_dict(groups)


def _need_arviz() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ArviZ announces its next version when imported
            import arviz
    except ImportError as error:
        raise MissingPackageError("arviz", "arviz", "to_arviz") from error
    return arviz
