"""One array of a store: its metadata file, and its chunks as bytes (Zarr format 3).

The same bytes as the zarr package would read and write, made here so that every size is known before
memory is taken, and every byte is seen before it is trusted.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.errors import MissingPackageError, StoreError
from pyro_posterior.stores.checks import check, numbers
from pyro_posterior.stores.files import damaged

#: Kinds of numbers that Zarr has names for: NumPy's own.
KINDS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)

#: Name of the kind of labels that are words.
WORDS = "string"

_BITSHUFFLE = 2

#: LZ4 never makes a byte stand for more.
_DENSEST = 256


@dataclass(frozen=True)
class Form:
    """Shape and layout of an array; words are NumPy arrays of ``object``."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    dims: tuple[str, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        if math.prod(self.shape) == 0:
            return (0,) * len(self.shape)
        return tuple(math.ceil(n / c) for n, c in zip(self.shape, self.chunks, strict=True))

    def positions(self, axis: int | None = None, rows: tuple[int, int] = (0, 0)) -> Iterator[Any]:
        """Positions of the chunks in the grid: all, or those of some rows along an axis."""
        ranges = [range(count) for count in self.grid]
        if axis is not None and all(self.grid):
            first, behind = rows
            ranges[axis] = range(first // self.chunks[axis], math.ceil(behind / self.chunks[axis]))
        return itertools.product(*ranges)

    def count(self, axis: int | None = None, rows: tuple[int, int] = (0, 0)) -> int:
        """Number of `positions`."""
        counts = list(self.grid)
        if axis is not None and all(self.grid):
            length = self.chunks[axis]
            counts[axis] = math.ceil(rows[1] / length) - rows[0] // length
        return math.prod(counts)

    @functools.cached_property
    def json(self) -> dict[str, Any]:
        """Content of the array's metadata file."""
        wordy = self.dtype.kind == "O"
        fill: Any = {"f": "NaN", "c": [0.0, 0.0], "b": False, "O": ""}.get(self.dtype.kind, 0)
        numeric: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
        if self.dtype.itemsize == 1:
            del numeric["configuration"]
        squeeze = {
            "typesize": 1 if wordy else self.dtype.itemsize,
            "cname": "lz4",
            "clevel": 5,
            "shuffle": "bitshuffle",
            "blocksize": 0,
        }
        return {
            "shape": list(self.shape),
            "data_type": WORDS if wordy else self.dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": list(self.chunks)},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": fill,
            "codecs": [
                {"name": "vlen-utf8", "configuration": {}} if wordy else numeric,
                {"name": "blosc", "configuration": squeeze},
                {"name": "crc32c"},
            ],
            "attributes": dict(self.attributes),
            "dimension_names": list(self.dims),
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }

    @functools.cached_property
    def metadata(self) -> bytes:
        """The array's metadata file."""
        return json.dumps(self.json).encode()

    def encode(self, values: np.ndarray) -> bytes:
        """The file of one chunk; at the end of an axis a part of it."""
        if self.dtype.kind == "O":
            from numcodecs.vlen import VLenUTF8

            plain: Any = np.frombuffer(VLenUTF8().encode(values), "u1")
        else:
            block = np.ascontiguousarray(values, self.dtype.newbyteorder("<"))
            if values.shape != self.chunks:
                block = np.zeros(self.chunks, block.dtype)
                block[tuple(map(slice, values.shape))] = values
            plain = block.reshape(-1).view(f"u{min(block.itemsize, 8)}")
        compress, _, crc = _codecs()
        squeezed = compress(plain, b"lz4", 5, _BITSHUFFLE)
        return bytes(squeezed) + int(crc(squeezed)).to_bytes(4, "little")

    def decode(self, content: bytes) -> np.ndarray:
        """The values of a chunk, ``chunks`` in shape.

        Raises
        ------
        ValueError
            It is not a chunk of this array.
        """
        _, decompress, crc = _codecs()
        squeezed, sum_ = content[:-4], content[-4:]
        check(len(content) > 20 and int(crc(squeezed)).to_bytes(4, "little") == sum_, "checksum")
        held = int.from_bytes(squeezed[4:8], "little")
        check(int.from_bytes(squeezed[12:16], "little") == len(squeezed), "compressed size")
        size = math.prod(self.chunks) * self.dtype.itemsize
        wordy = self.dtype.kind == "O"
        check(held <= _DENSEST * len(squeezed) + 65536 if wordy else held == size, "size")
        plain = decompress(squeezed)
        if wordy:
            from numcodecs.vlen import VLenUTF8

            words = VLenUTF8().decode(plain)
            check(words.shape == self.chunks, "number of words")
            return np.asarray(words)
        found = np.frombuffer(plain, self.dtype.newbyteorder("<")).reshape(self.chunks)
        return found.astype(self.dtype, copy=False)


def kind_in(content: bytes, root: Path, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype in an array's metadata file, nothing else of which is looked at.

    Raises
    ------
    StoreError
        There are none.
    """
    try:
        held = json.loads(content)
        kind = held["data_type"]
        check(kind in (*KINDS, WORDS), "data_type")
        return numbers(held["shape"]), np.dtype(object if kind == WORDS else kind)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(root, f"the metadata of {where} does not hold ({error})") from error


def labels_form_in(content: bytes, root: Path, dim: str, where: str) -> Form:
    """The form of labels along a dimension, by their metadata file: all of them in one chunk.

    Raises
    ------
    StoreError
        It is not one that a store writes.
    """
    shape, dtype = kind_in(content, root, where)
    form = Form(shape, dtype, tuple(max(1, length) for length in shape), (dim,))
    if len(shape) != 1 or form.metadata != content:
        raise damaged(root, f"the metadata of {where} does not hold")
    return form


def kept_dtype(dtype: np.dtype[Any], what: str) -> np.dtype[Any]:
    """The kind of numbers that is kept.

    Raises
    ------
    StoreError
        There is no such kind in Zarr.
    """
    if dtype.name not in KINDS:
        raise StoreError(f"{what} has values of dtype {dtype}, which a store cannot hold")
    return dtype.newbyteorder("=")


def need_zarr(purpose: str) -> None:
    """Whether stores can be written and read, and others can read them.

    Raises
    ------
    MissingPackageError
        zarr is not installed, or too old.
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingPackageError("zarr", "zarr", purpose) from error
    if int(zarr.__version__.split(".")[0]) < 3:
        raise MissingPackageError("zarr>=3", "zarr", purpose)
    _codecs()


@functools.cache
def _codecs() -> tuple[Callable[..., bytes], Callable[..., bytes], Callable[..., int]]:
    """Compress, decompress and check: of the packages that zarr itself uses."""
    from numcodecs import blosc

    crc: Callable[..., int]
    try:
        crc = importlib.import_module("google_crc32c").value
    except ImportError:  # zarr 3.0
        crc = importlib.import_module("crc32c").crc32c
    return blosc.compress, blosc.decompress, crc
