"""Reading a store back: summaries as NumPy arrays, draws as arrays that are read when asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.contracts import Results, RunPlan, Site
from pyro_posterior.errors import StoreError
from pyro_posterior.stores.array import Owned, Position, StoredArray
from pyro_posterior.stores.arrays import DRAWS, Arrays
from pyro_posterior.stores.closing import Closed, is_closed, read_closed
from pyro_posterior.stores.files import as_folder, damaged
from pyro_posterior.stores.form import need_zarr
from pyro_posterior.stores.header import Header, read_header
from pyro_posterior.stores.labels import read_labels
from pyro_posterior.stores.marks import Mark, find_mark, read_partials


@dataclass(frozen=True)
class Stored:
    """All that a finished store holds."""

    path: Path
    results: Results
    plan: RunPlan
    nonfinite: dict[str, int]
    record: Mapping[str, Any]
    coords: dict[str, np.ndarray]
    marks: Mapping[int, Mark]

    def partials(self, reduction: str) -> Iterator[Mapping[str, np.ndarray]]:
        """The partial results of one reduction, in the order of segments."""
        for mark in self.marks.values():
            found = read_partials(self.path, mark, reduction)
            if found is not None:
                yield found


def read_store(path: str | Path) -> Stored:
    """Read a finished store, all of whose digests are compared (draws: when they are read).

    Raises
    ------
    StoreError
        No store, an unfinished or damaged one, or one of another format.
    MissingPackageError
        zarr is not installed.
    """
    path = as_folder(path)
    progress = read_progress(path)
    header = progress.header
    if not progress.finished:
        raise StoreError(_too_early(path, progress))
    closed = read_closed(path, header)
    nonfinite: dict[str, int] = {}
    for site in header.plan.sites:
        count = sum(mark.nonfinite.get(site.name, 0) for mark in closed.marks.values())
        nonfinite |= {site.name: count} if count else {}
    return Stored(
        path=path,
        results=_read_results(path, header, closed),
        plan=header.plan,
        nonfinite=nonfinite,
        record=closed.record,
        coords=read_labels(path),
        marks=closed.marks,
    )


def _too_early(path: Path, progress: Progress) -> str:
    if progress.complete < len(progress.header.segments):
        return (
            f"the store {str(path)!r} is unfinished: {progress}. The call of sample_posterior that "
            "began it goes on with it; then open it"
        )
    return (
        f"the store {str(path)!r} has all its segments, but the run was ended before it was closed: "
        "repeat the call of sample_posterior that began it; then open it"
    )


@dataclass(frozen=True)
class Progress:
    """How far a store is, finished or not; ``str`` says it in words."""

    header: Header
    missing: tuple[int, ...]  # numbers of segments
    finished: bool

    @property
    def complete(self) -> int:
        """Number of segments that are there."""
        return len(self.header.segments) - len(self.missing)

    def __str__(self) -> str:
        return f"{self.complete} of {len(self.header.segments)} segments are complete and kept"


def read_progress(path: str | Path) -> Progress:
    """How far the store at ``path`` is.

    Raises
    ------
    StoreError
        No store, a damaged one, or one of another format.
    """
    need_zarr("reading a store")
    path = as_folder(path)
    header = read_header(path)
    if is_closed(path):
        return Progress(header, (), True)
    missing = (n for n in header.segments if find_mark(path, header, n) is None)
    return Progress(header, tuple(missing), False)


def _read_results(path: Path, header: Header, closed: Closed) -> Results:
    arrays, owned = Arrays(header), Owned(path, header.owner)
    results: Results = {}
    for result in header.plan.result_names:
        results[result] = {}
        for site in header.plan.sites:
            form = closed.forms[result, site.name]
            place = (result, arrays.folders[site.name])
            digests = _digests(path, header, closed, result, site)
            array = StoredArray(path, place, form, digests)
            array.check_chunks()
            held: Any = array.owned(owned) if result == DRAWS else array[...]
            results[result][site.name] = held
    return results


def _digests(
    path: Path, header: Header, closed: Closed, result: str, site: Site
) -> dict[Position, str]:
    """Digest of every chunk of one array, put together from the marks of its segments."""
    form = closed.forms[result, site.name]
    axis = Arrays(header).axis(site, len(form.shape))
    found: dict[Position, str] = {}
    for number in header.segments:
        rows = header.span(number, site)
        if rows is None:
            continue
        held = closed.marks[number].arrays[result][site.name][1:]
        count = form.count(axis, rows)
        if count != len(held):
            raise damaged(
                path, f"{len(held)} chunks of {result} of site {site.name!r}, not {count}"
            )
        found |= dict(zip(form.positions(axis, rows), held, strict=True))
    return found
