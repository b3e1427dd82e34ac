"""Labels of positions along dimensions: as they were given, and in every result for other readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.labelled import dim_coords
from pyro_posterior.labels import dim_lengths, obs_dim, site_dims
from pyro_posterior.stores.checks import names
from pyro_posterior.stores.files import damaged, read_inside, write_inside
from pyro_posterior.stores.form import Form, labels_form_in
from pyro_posterior.stores.header import METADATA, Header, group_json
from pyro_posterior.stores.layout import array_name, array_names
from pyro_posterior.stores.parts import COORDS
from pyro_posterior.stores.sealed import from_json


def write_labels(root: Path, header: Header, coords: Mapping[str, Any]) -> None:
    """Write labels, unless they are there."""
    if not coords or root.joinpath(COORDS, METADATA).is_file():
        return
    plan, dims = header.plan, site_dims(header.plan)
    along = dim_coords(dim_lengths(plan, dims), obs_dim(plan, dims), coords)
    for name, folder in array_names(coords).items():
        _write(root, COORDS, folder, name, np.asarray(coords[name]))
    taken = {folder.lower() for folder in array_names(site.name for site in plan.sites).values()}
    for dim, values in along.items():
        if array_name(dim) == dim and dim.lower() not in taken:
            for result in plan.result_names:
                _write(root, result, dim, dim, np.asarray(values))
    write_inside(root, group_json({"names": list(coords)}), COORDS, METADATA)


def read_labels(root: Path) -> dict[str, np.ndarray]:
    """The labels as they were given.

    Raises
    ------
    StoreError
        They are damaged.
    """
    if not root.joinpath(COORDS, METADATA).is_file():
        return {}
    try:
        given = names(from_json(read_inside(root, COORDS, METADATA))["attributes"]["names"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(root, f"the names of its labels do not hold ({error})") from error
    return {name: _read(root, folder, name) for name, folder in array_names(given).items()}


def label_files(root: Path, header: Header) -> Iterator[tuple[str, ...]]:
    """All files of labels that are there."""
    if not root.joinpath(COORDS, METADATA).is_file():
        return
    yield COORDS, METADATA
    given = names(from_json(read_inside(root, COORDS, METADATA))["attributes"]["names"])
    folders = [(COORDS, folder) for folder in array_names(given).values()]
    dims = {dim for dims in site_dims(header.plan).values() for dim in dims}
    sites = set(array_names(site.name for site in header.plan.sites).values())
    folders += [
        (result, dim) for result in header.plan.result_names for dim in sorted(dims - sites)
    ]
    for folder in folders:
        for file in ((METADATA,), ("c", "0")):
            if root.joinpath(*folder, *file).is_file():
                yield (*folder, *file)


def _write(root: Path, group: str, folder: str, dim: str, values: np.ndarray) -> None:
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        values = values.astype(str).astype(object)
    form = Form(values.shape, values.dtype, (max(1, len(values)),), (dim,))
    if len(values):
        write_inside(root, form.encode(values), group, folder, "c", "0")
    write_inside(root, form.metadata, group, folder, METADATA)


def _read(root: Path, folder: str, name: str) -> np.ndarray:
    content = read_inside(root, COORDS, folder, METADATA)
    form = labels_form_in(content, root, name, f"the labels {name!r}")
    try:
        if not form.shape[0]:
            return np.empty(0, form.dtype)
        return form.decode(read_inside(root, COORDS, folder, "c", "0"))
    except (ValueError, RuntimeError) as error:
        raise damaged(root, f"the labels {name!r} do not hold ({error})") from error
