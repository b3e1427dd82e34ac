"""A posterior for ArviZ: InferenceData where ArviZ has that class, a DataTree where it does not."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_posterior.errors import MissingPackageError
from pyro_posterior.exports.xarray import draw_groups
from pyro_posterior.posterior import Posterior


def to_arviz(
    posterior: Posterior,
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Any:
    """Draws in the groups that ArviZ knows: ``posterior`` and, where there are such sites, the others.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave with ``return_samples=True``. Latent and deterministic sites are
        in ``posterior``; observed ones, there with ``return_observed=True``, in
        ``observed_data``; predictions and log densities in ``posterior_predictive`` and
        ``log_likelihood``.
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
    arviz = need_arviz("to_arviz")
    made = {"created_at": datetime.datetime.now(datetime.UTC).isoformat()}
    groups = {
        name: dataset.assign_attrs(made)
        for name, dataset in draw_groups(posterior, dims=dims, coords=coords).items()
    }
    if "InferenceData" in vars(arviz):  # in 1.x looking that name up gives DataTree, and a warning
        return arviz.InferenceData(**groups)
    import xarray

    return xarray.DataTree.from_dict(groups)


def need_arviz(purpose: str) -> Any:
    """ArviZ, imported quietly.

    Raises
    ------
    MissingPackageError
        It is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ArviZ announces its next version when imported
            import arviz
    except ImportError as error:
        raise MissingPackageError("arviz", "arviz", purpose) from error
    return arviz
