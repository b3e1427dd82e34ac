"""What a host says of itself: its module, plate, batches, names, and the settings of scvi-tools."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior import settings
from pyro_posterior.batches import check_batch_size
from pyro_posterior.data.arguments import ToArgs, copied
from pyro_posterior.errors import RequestError
from pyro_posterior.labels import SPATIAL


def obs_plate_of(module: Any) -> str | None:
    """Name of the minibatch plate as the module declares it, or None to find it."""
    for owner in (module, getattr(module, "model", None)):
        declared = getattr(owner, "list_obs_plate_vars", None)
        if callable(declared):
            declared = declared()
        name = declared.get("name") if isinstance(declared, Mapping) else None
        if name:  # scvi-tools' own default names none
            return str(name)
    return None


def scvi_setting(name: str) -> Any:
    """A setting of scvi-tools where it is loaded; None otherwise."""
    scvi = sys.modules.get("scvi")
    return getattr(getattr(scvi, "settings", None), name, None)


def default_seed() -> int | None:
    return settings.seed if settings.seed is not None else scvi_setting("seed")


def module_of(host: Any) -> Any:
    """The host's module, with all that a call needs of it."""
    module = getattr(host, "module", None)
    needed = ("model", "guide", "_get_fn_args_from_batch")
    if lacking := [name for name in needed if not hasattr(module, name)]:
        what = "no module" if module is None else f"a module without {', '.join(lacking)}"
        raise RequestError(
            f"{type(host).__name__} has {what}: sample_posterior needs self.module with "
            f"{', '.join(needed)}, such as scvi-tools' PyroBaseModuleClass has"
        )
    return module


def make_loader(host: Any, adata: Any, indices: Any, batch_size: int | None) -> Any:
    """Batches of the host, in order."""
    make: Callable[..., Any] | None = getattr(host, "_make_data_loader", None)
    if make is None:
        raise RequestError(
            f"{type(host).__name__} has no _make_data_loader: pass the batches as input_dl, or "
            "define _make_data_loader(self, batch_size) to return a DataLoader"
        )
    if hasattr(host, "_validate_anndata"):
        adata = host._validate_anndata(adata)
        indices = range(adata.n_obs) if indices is None else indices
    check_batch_size(batch_size)
    chosen = batch_size or scvi_setting("batch_size") or settings.batch_size
    offered = {"adata": adata, "indices": indices, "batch_size": chosen, "shuffle": False}
    taken = inspect.signature(make).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        for name in ("adata", "indices"):
            if name not in taken and offered[name] is not None:
                raise RequestError(
                    f"{name} was given, but {type(host).__name__}._make_data_loader takes no {name}"
                )
        offered = {name: value for name, value in offered.items() if name in taken}
    return make(**offered)


def keeping_rows(to_args: ToArgs) -> ToArgs:
    """``to_args``, with the observation axis put back that ``squeeze()`` takes from a batch of one."""

    def with_rows(batch: Any) -> tuple[Any, Any]:
        leaves = [x for x in tree_flatten(batch)[0] if isinstance(x, torch.Tensor)]
        if not leaves or any(x.dim() == 0 or len(x) != 1 for x in leaves):
            return to_args(batch)
        args, kwargs = to_args(copied(batch))  # which it may change, and is asked for twice
        given = (tuple(args), dict(kwargs))
        if not any(isinstance(x, torch.Tensor) and x.dim() == 0 for x in tree_flatten(given)[0]):
            return args, kwargs
        args, kwargs = to_args(tree_map(_twice, batch))
        return tree_map(_one_of_two, given, (tuple(args), dict(kwargs)))

    return with_rows


def _twice(value: Any) -> Any:
    return torch.cat([value, value]) if isinstance(value, torch.Tensor) else value


def _one_of_two(value: Any, doubled: Any) -> Any:
    lost = isinstance(value, torch.Tensor) and value.dim() == 0 and doubled.dim() == 1
    return value.reshape(1) if lost else value


def from_use_gpu(use_gpu: Any, accelerator: Any, device: int | str) -> tuple[Any, int | str]:
    """Accelerator and device for the ``use_gpu`` of earlier releases of scvi-tools."""
    if use_gpu is None or use_gpu is True:
        return accelerator, device
    if use_gpu is False:
        return "cpu", "auto"
    return ("auto", use_gpu) if isinstance(use_gpu, str) else ("gpu", use_gpu)


def names_of(host: Any, adata: Any, indices: Any, input_dl: Any) -> dict[str, Any]:
    """Names of observations, variables and factors, where the host has an AnnData or such names."""
    data: Any = adata if adata is not None else getattr(host, "adata", None)
    names: dict[str, Any] = {}
    if hasattr(data, "obs_names"):
        if input_dl is None:
            rows = data.obs_names.to_numpy()
            chosen = slice(None) if indices is None else indices
            names["obs"] = rows[chosen]
            places = np.asarray(getattr(data, "obsm", {}).get("spatial", ()))
            if places.ndim == 2 and places.shape[1] >= 2 and places.dtype.kind in "iuf":
                names |= {name: places[chosen, axis] for axis, name in enumerate(SPATIAL)}
        names["var"] = data.var_names.to_numpy()
    factors = getattr(host, "factor_names_", None)
    if factors is not None and np.ndim(factors) == 1:
        names["factor"] = np.asarray(factors)
    return names


def with_labels(grouped: Any, host: Any, adata: Any, indices: Any, input_dl: Any) -> Any:
    """``grouped``, with labels of the host's AnnData in the place of names of its columns.

    Raises
    ------
    RequestError
        A name is given where no AnnData tells which observation is which, or it has no such column.
    """
    if not isinstance(grouped, Mapping):
        return grouped
    data: Any = adata if adata is not None else getattr(host, "adata", None)
    found = dict(grouped)
    for name, entry in grouped.items():
        if not isinstance(entry, tuple | list) or len(entry) < 2 or not isinstance(entry[1], str):
            continue
        column, table = entry[1], getattr(data, "obs", None)
        if input_dl is not None or table is None:
            where = "with input_dl" if input_dl is not None else f"{type(host).__name__} has none"
            raise RequestError(
                f"grouped[{name!r}]: {column!r} names a column of an AnnData ({where}): give the "
                "labels themselves, one per observation"
            )
        if column not in table.columns:
            raise RequestError(
                f"grouped[{name!r}]: the AnnData has no column {column!r} in obs; it has: "
                f"{', '.join(map(repr, table.columns)) or 'none'}"
            )
        labels = table[column]
        labels = labels if indices is None else labels.iloc[np.arange(len(labels))[indices]]
        found[name] = (entry[0], labels, *entry[2:])
    return found
