"""`write_netcdf`: draws in a NetCDF file that ArviZ and xarray read, labels in forms it can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.errors import RequestError
from pyro_posterior.exports.arviz import to_arviz
from pyro_posterior.files import check_target, replacing
from pyro_posterior.labelled import as_labels, level_names, plain_labels
from pyro_posterior.posterior import Posterior
from pyro_posterior.written import encodes


def write_netcdf(
    posterior: Posterior,
    path: str | PathLike[str],
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Any] | None = None,
) -> Path:
    """Write what `to_arviz` gives.

    A file holds numbers, times and text: times in a zone are written in UTC, categories,
    intervals and periods as their text, and levels as one coordinate each, of which
    ``dataset.set_index(obs=["level", ...])`` makes an index again. `Posterior.save` keeps all
    kinds.

    Parameters
    ----------
    posterior, dims, coords
        As for `to_arviz`.
    path
        File to write; one that is there is replaced once the new one is whole.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    RequestError
        No draws, or labels do not fit.
    OutputError
        The file cannot be written.
    MissingPackageError
        ArviZ is not installed.
    """
    target = check_target(path)
    data = to_arviz(posterior, dims=dims, coords=coords)
    in_groups = getattr(data, "map_over_datasets", None) or data.map  # a DataTree, InferenceData
    data = in_groups(plain_dataset)
    with replacing(target) as beside:
        data.to_netcdf(str(beside))
    return target


def plain_dataset(dataset: Any) -> Any:
    """A dataset whose coordinates are arrays of numbers, times or text."""
    for dim in list(dataset.dims):
        if dim not in dataset.indexes:
            continue
        index = dataset.indexes[dim]
        levels = level_names(dim, index) if hasattr(index, "levels") else []
        if levels:
            parts = {name: index.get_level_values(place) for place, name in enumerate(levels)}
            dataset = dataset.drop_vars([dim, *levels])
            dataset = dataset.assign_coords(
                {name: (dim, _plain(name, part)) for name, part in parts.items()}
            )
        else:
            dataset = dataset.assign_coords({dim: (dim, _plain(dim, index))})
    return dataset


def _plain(name: str, index: Any) -> np.ndarray:
    if type(index).__name__ == "DatetimeIndex" and index.tz is not None:
        return np.asarray(index.tz_convert("UTC").tz_localize(None))
    array = plain_labels(as_labels(name, index))
    if array.dtype.kind not in "OUT":
        return array
    texts = array.astype(str).astype(object)
    for text in texts:
        if "\0" in text or not encodes(text):
            raise RequestError(
                f"a NetCDF file cannot hold the label {text!r} of dimension {name!r}: draw with "
                "labels in other characters"
            )
    return texts
