"""`save`: a posterior, wherever it is held, into a store of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.contracts import Results, RunPlan, Segment, SegmentResult
from pyro_posterior.errors import RequestError, StoreError
from pyro_posterior.posterior import Posterior
from pyro_posterior.segments import cut, segment_rows
from pyro_posterior.stores.create import open_zarr_store
from pyro_posterior.stores.files import as_folder
from pyro_posterior.written import pack

_DRAWS = "posterior_samples"

#: Suffixes of files, and what writes such a file.
_FILES = {
    ".nc": "to_netcdf(path)",
    ".csv": "to_pandas(site).to_csv(path)",
    ".h5ad": "to_anndata(adata).write_h5ad(path)",
    ".npz": "np.savez(path, **posterior.means)",
    ".html": "report(path)",
}
_DENSITIES = ("log_likelihood", "log_p", "log_q", "khat")


def save(posterior: Posterior, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a posterior to a folder, which `Posterior.open` reads back.

    It is written segment by segment, so that draws on disk are never held whole.

    Parameters
    ----------
    posterior
        What `sample_posterior` gave, in memory or on disk.
    path
        Folder of the Zarr store; made if it is not there.
    overwrite
        Replace a store that is there.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    StoreError
        The folder holds something already, or cannot be written.
    RequestError
        The posterior is itself read from there, a result lacks a site, or labels have no written
        form.
    MissingPackageError
        zarr is not installed.
    """
    folder = as_folder(Path(path))
    if folder.suffix in _FILES and not folder.is_dir():
        raise RequestError(
            f"save writes a folder, and {folder.name!r} looks like a file: end it in .zarr or in "
            f"nothing; {folder.suffix} files come from {_FILES[folder.suffix]}"
        )
    _check_not_own(posterior, folder)
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise StoreError(
            f"{str(folder)!r} holds something already: give another path, or overwrite=True"
        )
    totals = posterior.info.get("grouped", {})  # made again from their partial results
    plan = replace(
        posterior.plan,
        sites=tuple(site for site in posterior.plan.sites if site.name not in totals),
        summaries=tuple(name for name in posterior if name != _DRAWS),
        return_samples=posterior.plan.return_samples or _has_all_draws(posterior),
    )
    rows = segment_rows(plan)
    segments = cut(plan, rows)
    groups = {f"{name}_group" for name in totals}
    coords = pack({dim: x for dim, x in posterior.coords.items() if dim not in groups})
    partials = _partials(posterior, (*totals, *_DENSITIES))
    with open_zarr_store(
        folder,
        plan,
        segments,
        rows,
        {},
        coords=coords,
        overwrite=overwrite,
        drawn_with=posterior.info.get("versions", {}),
    ) as store:
        counts = dict(posterior.nonfinite)
        for segment in segments:
            results = _part(posterior, plan, segment)
            found = {name: counts.pop(name) for name in list(counts) if _has(results, name)}
            store.write(SegmentResult(segment, results, found, partials=partials))
            partials = {}
        store.finish(lambda: {"program": posterior.program, "info": posterior.info})
    return folder


def _partials(posterior: Posterior, names: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """The partial results of all segments as those of one."""
    found = {}
    for name in names:
        parts = list(posterior.partials(name))
        for key in parts[0] if parts else ():
            arrays = [part[key] for part in parts]
            whole = sum(arrays[1:], arrays[0]) if key == "sum" else np.concatenate(arrays, axis=-1)
            found[name] = {key: whole}
    return found


def _has_all_draws(posterior: Posterior) -> bool:
    """Not only those of totals over groups, which are always kept."""
    return _DRAWS in posterior and all(site in posterior[_DRAWS] for site in posterior.sites)


def _part(posterior: Posterior, plan: RunPlan, segment: Segment) -> Results:
    """All results of one segment."""
    results: Results = {}
    for name in plan.result_names:
        results[name] = {}
        for site in plan.sites:
            span = site.span(segment.number, segment.rows)
            if span is not None:
                array: Any = posterior[name][site.name]
                results[name][site.name] = np.asarray(array[site.within(array.ndim, span)])
    return results


def _has(results: Results, site: str) -> bool:
    return any(site in arrays for arrays in results.values())


def _check_not_own(posterior: Posterior, folder: Path) -> None:
    for source in _folders(posterior):
        if source == folder or source.is_relative_to(folder):
            raise RequestError(
                f"the posterior is read from {str(folder)!r}: give another path to save it to"
            )


def _folders(posterior: Posterior) -> Iterator[Path]:
    """Where the arrays that stay on disk are."""
    for arrays in posterior.values():
        for array in arrays.values():
            path = getattr(array, "path", None)
            if isinstance(path, Path):
                yield path.resolve()
