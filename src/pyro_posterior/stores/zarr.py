"""Results on disk: a Zarr store, written segment by segment, that an interrupted run can go on with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.contracts import Finished, RunPlan, Segment, SegmentResult, Site
from pyro_posterior.errors import RequestError, StoreError
from pyro_posterior.files import PARTIAL, sync_folder, write_whole
from pyro_posterior.labelled import dim_coords
from pyro_posterior.labels import dim_lengths, obs_dim, site_dims
from pyro_posterior.segments import site_bytes
from pyro_posterior.stores.behind import OneBehind
from pyro_posterior.stores.files import as_folder, free_bytes, in_words, remove_partials
from pyro_posterior.stores.header import KEY, differences, make_header, read_header
from pyro_posterior.stores.layout import (
    Segments,
    array_name,
    chunk_shape,
    layout_of,
)
from pyro_posterior.stores.reading import (
    COORDS,
    DRAWS,
    RUN,
    SEGMENTS,
    is_closed,
    need_zarr,
    progress,
    read_marks,
    read_store,
)

logger = logging.getLogger(__name__)

#: Segments of more bytes are written while nothing else is drawn, so that memory holds one of them.
BESIDE_BYTES = 200_000_000


def open_zarr_store(
    path: str | Path,
    plan: RunPlan,
    segments: Sequence[Segment],
    rows: int,
    identity: Mapping[str, str],
    *,
    coords: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ZarrStore:
    """Begin a store, or go on with the one that this run began.

    Parameters
    ----------
    path
        Folder of the store; made if it is not there.
    plan, identity
        What fixes the numbers; a store of anything else is refused.
    segments, rows
        How the run is cut, and how many observations a segment has.
    coords
        Labels by dimension, kept in the store.
    overwrite
        Remove a store that is there, of whatever run, and start anew.

    Raises
    ------
    StoreError
        The folder holds something else, cannot be written, or the disk has too little room.
    MissingPackageError
        zarr is not installed.
    """
    need_zarr("store=")
    path = as_folder(path)
    _check_names(plan)
    layout = layout_of(plan, rows)
    header = make_header(plan, identity, rows)
    with _telling(path, "begin"):
        if overwrite and _holds_something(path):
            _remove(path)
        if not _holds_something(path):
            _check_room(path, plan, 1.0)
            _create(path, plan, layout, header, coords or {})
    stored = read_header(path)
    if found := differences(stored, header):
        raise StoreError(
            f"the store {str(path)!r} holds another run:\n  " + "\n  ".join(found) + "\n"
            "Give another path, or start anew with overwrite=True"
        )
    marks = read_marks(path, layout)
    if marks.any():
        logger.info("store %s: %s", path, progress(marks))
        _check_room(path, plan, 1.0 - marks.sum() / len(marks))
    return ZarrStore(path, plan, layout, segments, marks)


class ZarrStore:
    """Every segment is written, then marked. One is written while the next one is drawn."""

    def __init__(
        self,
        path: Path,
        plan: RunPlan,
        layout: Segments,
        segments: Sequence[Segment],
        marks: np.ndarray,
    ) -> None:
        self.path = path
        self._plan = plan
        self._segments = layout
        self._numbers = frozenset(segment.number for segment in segments)
        self._marks = marks
        self._sites = {site.name: site for site in plan.sites}
        self._dims = site_dims(plan)
        self._behind = OneBehind()
        self._arrays: dict[tuple[str, ...], Any] = {}

    def __enter__(self) -> ZarrStore:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._behind.close()

    def missing(self) -> frozenset[int]:
        """Numbers of the segments that are still to be written, whoever wrote the others."""
        self._behind.wait()
        self._marks = read_marks(self.path, self._segments)
        return frozenset(number for number in self._numbers if not self._marks[number])

    def describe(self) -> str:
        """What is kept, and how to go on; what is being written is waited for."""
        with contextlib.suppress(Exception):  # an error of its own, which the caller has or gets
            self._behind.close()
        return self._state()

    def _state(self) -> str:
        if self._marks.all():
            return f"the store {str(self.path)!r} is complete"
        return (
            f"in the store {str(self.path)!r} {progress(self._marks)}; the same call goes on with "
            "the rest"
        )

    # ------------------------------------------------------------------------------------- writing

    def write(self, result: SegmentResult) -> None:
        """Write one segment, beside what comes next if it is not too large."""
        arrays = [piece for by_site in result.results.values() for piece in by_site.values()]
        if sum(piece.nbytes for piece in arrays) > BESIDE_BYTES:
            self._behind.wait()
            self._write_now(result)
        else:
            self._behind.do(self._write_now, result)

    def _write_now(self, result: SegmentResult) -> None:
        """Write one segment; its completion mark comes last."""
        number = result.segment.number
        nonfinite = [result.nonfinite.get(site.name, 0) for site in self._plan.sites]
        with _telling(self.path, "write to", self._state):
            for name, arrays in result.results.items():
                for site, piece in arrays.items():
                    self._write_piece(number, name, self._sites[site], np.asarray(piece))
            self._segment_array("nonfinite")[number] = np.array(nonfinite, np.int64)
            self._segment_array("done")[number] = 1
            sync_folder(self.path / SEGMENTS / "done" / "c")
        self._marks[number] = True

    def partials(self, reduction: str) -> Iterator[Mapping[str, np.ndarray]]:
        """The partial results of one reduction, in the order of segments."""
        raise StoreError(f"this store keeps no partial results of {reduction!r}")

    def _write_piece(self, number: int, result: str, site: Site, piece: np.ndarray) -> None:
        array = self._array(result, site, piece)
        if site.batch_axis is None:
            array[...] = piece
            return
        array[site.at(piece.ndim, *self._segments.bounds(number))] = piece

    # -------------------------------------------------------------------------------------- arrays

    def _segment_array(self, name: str) -> Any:
        key = (SEGMENTS, name)
        if key not in self._arrays:
            self._arrays[key] = _open_array(self.path, *key)
        return self._arrays[key]

    def _array(self, result: str, site: Site, piece: np.ndarray) -> Any:
        """The whole array that ``piece`` is a part of, made when its first piece comes."""
        key = (result, array_name(site.name))
        if key not in self._arrays:
            shape = list(piece.shape)
            if site.batch_axis is not None:
                shape[site.batch_axis] = site.rows(self._plan.num_obs)
            if not self.path.joinpath(*key, "zarr.json").is_file():
                self._create_array(key, result, site, tuple(shape), piece.dtype)
            self._arrays[key] = _open_array(self.path, *key)
        array = self._arrays[key]
        if array.dtype != piece.dtype or array.ndim != piece.ndim:
            raise StoreError(
                f"{result} of site {site.name!r} has dtype {piece.dtype} and {piece.ndim} axes, "
                f"but {array.dtype} and {array.ndim} in the store {str(self.path)!r}: its summary "
                "functions are others, or give other numbers for other minibatches. Give another "
                "path, or start anew with overwrite=True"
            )
        return array

    def _create_array(
        self,
        key: tuple[str, str],
        result: str,
        site: Site,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        axis = None if site.batch_axis is None else len(shape) + site.batch_axis
        rows = site.rows(self._segments.rows)
        chunks = chunk_shape(shape, dtype.itemsize, axis, rows, result == DRAWS)
        dims = self._dims[site.name]
        ahead = len(shape) - len(dims)
        first = "draw" if result == DRAWS else f"{array_name(site.name)}_{result}"
        more = [f"{first}_{axis}" for axis in range(1, ahead)]
        names = (*([first] if ahead > 0 else []), *more, *dims)[max(0, -ahead) :]
        with contextlib.suppress(_exists()):  # another process was first, with the same bytes
            _make_array(
                self.path,
                *key,
                shape=shape,
                dtype=dtype,
                chunks=chunks,
                names=names,
                attributes={"site": site.name},
            )

    # --------------------------------------------------------------------------------------- ending

    def finish(self, record: Mapping[str, Any]) -> Finished:
        """Close the store and read the results back.

        Raises
        ------
        StoreError
            Segments are missing (another process has them), or what was written cannot be read.
        """
        self._behind.close()
        self._marks = read_marks(self.path, self._segments)
        if not self._marks.all():
            raise StoreError(f"not everything is there yet: {self._state()}")
        if not is_closed(self.path):
            with _telling(self.path, "close", self._state):
                remove_partials(self.path)
                _consolidate(self.path, self._plan.result_names)
                _make_group(self.path / RUN, record)
        stored = read_store(self.path)
        return Finished(
            stored.results, stored.nonfinite, {"program": stored.program, "info": stored.info}
        )


# ----------------------------------------------------------------------------------- making and removing


def _check_names(plan: RunPlan) -> None:
    """Names of results are folders, as they are."""
    for name in plan.result_names:
        if array_name(name) != name or name in (SEGMENTS, COORDS, RUN):
            raise RequestError(
                f"summary_fun names the result {name!r}, which cannot be a folder of a store: use "
                "letters, digits, dots, hyphens and underscores, at most 180"
            )


def _holds_something(path: Path) -> bool:
    if path.exists() and not path.is_dir():
        raise StoreError(f"store={str(path)!r} is a file; a store is a folder")
    return path.is_dir() and any(path.iterdir())


def _create(
    path: Path,
    plan: RunPlan,
    segments: Segments,
    header: Mapping[str, Any],
    coords: Mapping[str, Any],
) -> None:
    """Make the store without results beside ``path``, then give it its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        _make_group(beside, {KEY: dict(header)})
        for result in plan.result_names:
            _make_group(beside / result)
        _make_group(beside / SEGMENTS, {"sites": [site.name for site in plan.sites]})
        _make_array(
            beside,
            SEGMENTS,
            "done",
            shape=(segments.count,),
            dtype=np.dtype("u1"),
            chunks=(1,),
            names=("segment",),
            plain=True,
        )
        _make_array(
            beside,
            SEGMENTS,
            "nonfinite",
            shape=(segments.count, len(plan.sites)),
            dtype=np.dtype("i8"),
            chunks=(1, len(plan.sites)),
            names=("segment", "site"),
            plain=True,
        )
        if not segments.has_globals:
            _open_array(beside, SEGMENTS, "done")[0] = 1
        _make_coords(beside, plan, coords)
        try:
            beside.rename(path)
        except OSError:
            if not _holds_something(path):
                raise
            logger.debug("another process made %s first", path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _make_coords(path: Path, plan: RunPlan, coords: Mapping[str, Any]) -> None:
    """Labels as they were given, and by dimension in every group of results."""
    if not coords:
        return
    _make_group(path / COORDS, {"names": list(coords)})
    for name, values in coords.items():
        _make_labels(path / COORDS / array_name(name), name, np.asarray(values))
    dims = site_dims(plan)
    for dim, values in dim_coords(dim_lengths(plan, dims), obs_dim(plan, dims), coords).items():
        for result in plan.result_names if array_name(dim) == dim else ():
            _make_labels(path / result / dim, dim, values)


def _make_labels(folder: Path, dim: str, values: np.ndarray) -> None:
    textual = values.dtype.kind in "OUST"
    values = values.astype(str).astype(object) if textual else values
    array = _make_array(
        folder.parent,
        folder.name,
        shape=values.shape,
        dtype=str if textual else values.dtype,
        chunks=(max(1, len(values)),),
        names=(dim,),
    )
    array[...] = values


def _remove(path: Path) -> None:
    """Remove a store; a folder that holds anything else is left alone."""
    read_header(path)
    shutil.rmtree(path / SEGMENTS, ignore_errors=True)  # from here on nothing looks complete
    for part in path.iterdir():
        if part.name != "zarr.json":
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    shutil.rmtree(path)


def _make_group(folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    write_whole(folder / "zarr.json", json.dumps(content, indent=1).encode())


def _make_array(
    path: Path,
    *key: str,
    shape: tuple[int, ...],
    dtype: Any,
    chunks: tuple[int, ...],
    names: tuple[str, ...],
    plain: bool = False,
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    """Make an array without chunks; ``plain`` leaves these uncompressed."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    textual = dtype is str
    squeeze = BloscCodec(
        cname="lz4", clevel=5, shuffle="bitshuffle", typesize=1 if textual else dtype.itemsize
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # string labels: a data type still without a Zarr document
        return zarr.create_array(
            _durable(path.joinpath(*key)),
            shape=shape,
            dtype=dtype,
            chunks=chunks if shape else "auto",
            compressors=None if plain else [squeeze, Crc32cCodec()],
            fill_value="" if textual else (np.nan if dtype.kind == "f" else 0),
            dimension_names=names,
            attributes=dict(attributes or {}),
            zarr_format=3,
            config={"write_empty_chunks": True},
        )


def _open_array(path: Path, *key: str) -> Any:
    import zarr

    array = zarr.open_array(_durable(path.joinpath(*key)), mode="r+", zarr_format=3)
    return array.with_config({"write_empty_chunks": True})


def _durable(folder: Path) -> Any:
    """A Zarr store in which every file is whole, and on the disk when a write returns."""
    return _durable_class()(folder)


@functools.cache
def _durable_class() -> Any:
    from zarr.storage import LocalStore

    class DurableStore(LocalStore):
        async def set(self, key: str, value: Any) -> None:
            content = (
                value.as_buffer_like() if hasattr(value, "as_buffer_like") else value.to_bytes()
            )
            await asyncio.to_thread(write_whole, self.root / key, content)

    return DurableStore


def _exists() -> type[Exception]:
    from zarr.errors import ContainsArrayError

    return ContainsArrayError


def _consolidate(path: Path, results: tuple[str, ...]) -> None:
    """Put the metadata of all arrays into their groups' and the root's file, in a fixed order."""
    inside: dict[str, Any] = {}
    for group in (*results, SEGMENTS, COORDS):
        if not (path / group / "zarr.json").is_file():
            continue
        own = {
            file.parent.name: json.loads(file.read_text())
            for file in sorted((path / group).glob("*/zarr.json"))
        }
        content = _plain_group(path / group)
        inside[group] = {**content, "consolidated_metadata": _inline({})}
        inside.update({f"{group}/{name}": array for name, array in own.items()})
        _write_json(path / group, {**content, "consolidated_metadata": _inline(own)})
    _write_json(path, {**_plain_group(path), "consolidated_metadata": _inline(inside)})


def _plain_group(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "zarr.json").read_text())
    content.pop("consolidated_metadata", None)
    return content


def _inline(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": dict(metadata)}


def _write_json(folder: Path, content: Mapping[str, Any]) -> None:
    write_whole(folder / "zarr.json", json.dumps(content, indent=1).encode())


# ------------------------------------------------------------------------------------------ small things


def _check_room(path: Path, plan: RunPlan, share: float) -> None:
    """Compare what is to be written with the room on the disk."""
    wanted = share * sum(site_bytes(plan, site) for site in plan.sites)
    free = free_bytes(path.absolute())
    logger.info("store %s: up to %s to write, %s free", path, in_words(wanted), in_words(free))
    if wanted > free:
        raise StoreError(
            f"up to {in_words(wanted)} are to be written to {str(path)!r}, but only "
            f"{in_words(free)} are free there: make room, give another path, ask for fewer sites "
            "or samples, or leave out return_samples"
        )


@contextlib.contextmanager
def _telling(path: Path, doing: str, kept: Any = None) -> Iterator[None]:
    """Turn errors of the operating system into a `StoreError` that says what is kept."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        after = f"; {kept()}" if kept else ""
        raise StoreError(f"cannot {doing} the store {str(path)!r}: {reason}{after}") from error
