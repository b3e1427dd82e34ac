"""Reading a store back: summaries as NumPy arrays, draws as arrays that are read when asked."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pyro_posterior.contracts import Results, RunPlan, Site
from pyro_posterior.errors import MissingPackageError, StoreError
from pyro_posterior.stores.files import as_folder
from pyro_posterior.stores.header import plan_of, read_header
from pyro_posterior.stores.layout import Segments, array_name, layout_of

#: The one result whose arrays stay on disk.
DRAWS = "posterior_samples"

#: Groups that are not results.
SEGMENTS, RUN, COORDS = "segments", "run", "coords"


def need_zarr(purpose: str) -> ModuleType:
    """The zarr package (version 3).

    Raises
    ------
    MissingPackageError
        It is not installed, or too old.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingPackageError("zarr", "zarr", purpose) from error
    if int(zarr.__version__.split(".")[0]) < 3:
        raise MissingPackageError("zarr>=3", "zarr", purpose)
    return zarr


class StoredArray:
    """An array on disk. ``np.asarray(array)`` reads it all, ``array[:, :100]`` a part of it."""

    def __init__(self, array: Any, path: Path) -> None:
        self._array = array
        self._path = path
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.chunks: tuple[int, ...] = tuple(array.chunks)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory once read."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, selection: Any) -> np.ndarray:
        with _readable(self._path):
            return np.asarray(self._array[selection])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on disk cannot be read without making a copy")
        return np.asarray(self[...], dtype=dtype)

    def __repr__(self) -> str:
        return f"<StoredArray {self.shape} {self.dtype} in {self._path}>"


class _readable:
    """Turns what a reader raises on damaged bytes into a `StoreError` naming the array."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        known = (IndexError, KeyboardInterrupt, MemoryError, StoreError)
        if isinstance(error, Exception) and not isinstance(error, known):
            raise StoreError(
                f"{str(self._path)!r} cannot be read: a chunk is damaged or cut short "
                f"({type(error).__name__}: {error}). Restore the file from a copy, or draw again "
                "with overwrite=True"
            ) from error


@dataclass(frozen=True)
class Stored:
    """All that a finished store holds."""

    results: Results
    plan: RunPlan
    nonfinite: dict[str, int]
    program: str
    info: dict[str, Any]
    coords: dict[str, np.ndarray]


def read_store(path: str | Path) -> Stored:
    """Read a finished store.

    Raises
    ------
    StoreError
        No store, an unfinished or damaged one, or one of a later format.
    MissingPackageError
        zarr is not installed.
    """
    path = as_folder(path)
    plan, marks = read_plan(path)
    if not marks.all():
        raise StoreError(
            f"the store {str(path)!r} is unfinished: {progress(marks)}. The call of "
            "sample_posterior that began it goes on with it; then open it"
        )
    run = _open(path, RUN).attrs.asdict() if is_closed(path) else {}
    return Stored(
        results=_read_results(path, plan),
        plan=plan,
        nonfinite=read_nonfinite(path, plan),
        program=run.get("program", ""),
        info=run.get("info", {}),
        coords=_read_coords(path),
    )


def read_plan(path: Path) -> tuple[RunPlan, np.ndarray]:
    """The plan of the run that wrote a store, finished or not, and which segments are complete."""
    need_zarr("reading a store")
    header = read_header(path)
    plan = plan_of(header, path)
    return plan, read_marks(path, layout_of(plan, header["segment_rows"]))


def is_closed(path: Path) -> bool:
    """Whether the run that wrote the store came to its very end."""
    return (path / RUN / "zarr.json").is_file()


def progress(marks: np.ndarray) -> str:
    """How much is there, in words."""
    return f"{int(marks.sum())} of {len(marks)} segments are complete and kept"


def read_marks(path: Path, segments: Segments) -> np.ndarray:
    """Which segments are complete."""
    array = _open(path, SEGMENTS, "done")
    with _readable(path / SEGMENTS / "done"):
        marks = np.asarray(array[:]) == 1
    if len(marks) != segments.count:
        raise StoreError(
            f"the store {str(path)!r} is damaged: it has {len(marks)} completion marks, but its "
            f"header speaks of {segments.count} segments"
        )
    return marks


def read_nonfinite(path: Path, plan: RunPlan) -> dict[str, int]:
    """Number of non-finite draws by site, sites without any left out."""
    array = _open(path, SEGMENTS, "nonfinite")
    with _readable(path / SEGMENTS / "nonfinite"):
        counts = np.asarray(array[:]).sum(axis=0)
    return {site.name: int(count) for site, count in zip(plan.sites, counts, strict=True) if count}


def _read_results(path: Path, plan: RunPlan) -> Results:
    results: Results = {}
    for result in plan.result_names:
        stored = {site.name: _stored(path, result, site) for site in plan.sites}
        results[result] = stored if result == DRAWS else {k: v[...] for k, v in stored.items()}
    return results


def _stored(path: Path, result: str, site: Site) -> Any:
    name = array_name(site.name)
    array = _open(path, result, name)
    folder = path / result / name
    for missing in missing_chunks(folder, array):
        raise StoreError(
            f"the store {str(path)!r} is damaged: the chunk {str(missing)!r} is missing. Restore "
            "the file from a copy, or draw again with overwrite=True"
        )
    return StoredArray(array, folder)


def missing_chunks(folder: Path, array: Any) -> Iterator[Path]:
    """Files of chunks that are not there."""
    if math.prod(array.shape) == 0:
        return
    counts = [math.ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True)]
    for position in itertools.product(*map(range, counts)):
        file = folder.joinpath("c", *map(str, position))
        if not file.is_file():
            yield file


def _read_coords(path: Path) -> dict[str, np.ndarray]:
    if not (path / COORDS / "zarr.json").is_file():
        return {}
    names = _open(path, COORDS).attrs["names"]
    coords = {}
    for name in names:
        with _readable(path / COORDS / array_name(name)):
            values = np.asarray(_open(path, COORDS, array_name(name))[:])
        coords[name] = values.astype(object) if values.dtype.kind in "TU" else values
    return coords


def _open(path: Path, *names: str) -> Any:
    """A group or array of the store, metadata read from its own file."""
    zarr = need_zarr("reading a store")
    folder = path.joinpath(*names)
    if not (folder / "zarr.json").is_file():
        raise StoreError(
            f"the store {str(path)!r} is damaged: the metadata file {str(folder / 'zarr.json')!r} "
            "is missing. Restore the file from a copy, or draw again with overwrite=True"
        )
    with _readable(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # string labels: a data type still without a Zarr document
        return zarr.open(folder, mode="r", zarr_format=3)
