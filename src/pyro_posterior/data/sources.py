"""Batches as the caller has them: cut from full data, of a loader, or of any re-iterable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data._utils.collate import default_convert
from torch.utils.data.dataloader import default_collate

from pyro_posterior.data.arguments import copied
from pyro_posterior.data.kinds import as_tensor, cut, in_memory, is_rows, length
from pyro_posterior.data.samplers import row_numbers
from pyro_posterior.errors import RequestError


class NoSuchBatch(IndexError):
    """There are fewer batches than that."""


class Source(Protocol):
    """Batches by number."""

    @property
    def count(self) -> int | None:
        """Number of batches, None where only a whole pass tells."""
        ...

    @property
    def rows(self) -> tuple[int, ...] | None:
        """Observations per batch where known without reading the data."""
        ...

    @property
    def fixed(self) -> bool:
        """Whether these are plain tensors in memory, the same whenever they are read."""
        ...

    def get(self, index: int) -> Any:
        """Batch number ``index``; raises `NoSuchBatch` behind the last."""
        ...


def open_source(data: Any, batch_size: int | None, *, converted: bool) -> Source:
    """Find out what ``data`` is; see `pyro_posterior.batches.open_batches`.

    ``converted`` says that a ``to_args`` of the caller takes the batches, DataFrames and AnnData
    as they are.
    """
    if is_rows(data) or isinstance(data, tuple | Mapping):
        return FullData(data, batch_size, converted)
    if batch_size is not None:
        raise RequestError(
            f"batch_size={batch_size} was given, but data is a {type(data).__name__} that makes "
            "batches of its own: set the batch size there, or pass tensors"
        )
    if isinstance(data, DataLoader) and type(data).__iter__ is DataLoader.__iter__:
        numbers = row_numbers(data)
        return Passes(data) if not numbers else LoaderRows(data, numbers)
    if isinstance(data, Iterator):
        raise RequestError(
            f"data is a one-shot iterator ({type(data).__name__}); several passes are needed: "
            "pass the list, DataLoader or other object it was made from"
        )
    if isinstance(data, list):
        return Listed(data)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return Passes(data)
    raise RequestError(
        f"data is a {type(data).__name__}: pass a tensor, a tuple or dict of tensors, or a "
        "re-iterable of batches such as a DataLoader"
    )


class FullData:
    """Arrays with all observations along the first axis."""

    def __init__(self, data: Any, batch_size: int | None, converted: bool) -> None:
        data = dict(data) if isinstance(data, Mapping) else data
        if not converted or _numeric(data):  # once: all minibatches are views of the same memory
            data = tree_map(lambda x: as_tensor(x) if _is_array(x) else x, data)
        self._data = data
        leaves = tree_flatten(self._data)[0]
        lengths = [rows for x in leaves if (rows := length(x)) is not None]
        if batch_size is not None and not lengths:
            raise RequestError("batch_size was given, but data holds no tensor with an axis")
        if batch_size is not None and len(set(lengths)) > 1:
            raise RequestError(
                f"the tensors of data have different first axes ({sorted(set(lengths))}): "
                "with batch_size all are cut along it; pass a DataLoader instead"
            )
        num_rows = lengths[0] if lengths else 1
        if num_rows == 0:
            raise RequestError("data holds no observations: its first axis has length 0")
        self._whole = batch_size is None
        self._step = num_rows if batch_size is None else batch_size
        self.rows = tuple(min(self._step, num_rows - low) for low in range(0, num_rows, self._step))
        self.count = len(self.rows)
        self.fixed = all(in_memory(x) for x in leaves)

    def get(self, index: int) -> Any:
        if index >= self.count:
            raise NoSuchBatch
        if self._whole:
            return self._data
        low = index * self._step
        return tree_map(lambda x: cut(x, low, low + self._step), self._data)


class Listed:
    """A list of batches."""

    rows = None

    def __init__(self, data: list[Any]) -> None:
        self._data = data
        self.count = len(data)
        if data and isinstance(data[0], int | float | str | np.generic):
            raise RequestError(
                f"data is a list of {type(data[0]).__name__}, and a list is one of batches: for one "
                "array pass torch.tensor(data)"
            )
        if len(data) > 1 and all(_is_row(batch) for batch in data):
            raise RequestError(
                "data is a list of lists of numbers, and a list is one of batches, each with the "
                "model's arguments: for the rows of one array pass torch.tensor(data)"
            )
        self.fixed = all(in_memory(x) for x in tree_flatten(data)[0])

    def get(self, index: int) -> Any:
        if index >= self.count:
            raise NoSuchBatch
        return self._data[index]


class Passes:
    """Any re-iterable of batches: read in one pass as long as they are asked for in order."""

    count = None
    rows: tuple[int, ...] | None = None
    fixed = False

    def __init__(self, data: Iterable[Any]) -> None:
        self._data = data
        self._pass: Iterator[Any] = iter(())
        self._next: int | None = None  # number of the batch that the pass gives next

    def get(self, index: int) -> Any:
        if self._next is None or index < self._next:
            self._pass, self._next = iter(self._data), 0
        while True:
            try:
                batch = next(self._pass)
            except StopIteration:
                self._next = None
                raise NoSuchBatch from None
            self._next += 1
            if self._next > index:  # a copy: some fill the same memory for every batch
                return batch if isinstance(self._data, DataLoader) else copied(batch)


class LoaderRows:
    """A torch DataLoader whose sampler tells the rows of every batch, so that any can be read."""

    def __init__(self, loader: DataLoader[Any], rows: list[Any]) -> None:
        self._loader = loader
        self._numbers = rows
        self._passes = Passes(loader) if loader.num_workers else None
        self._given = -1
        self.count = len(rows)
        self.rows = tuple(len(batch) for batch in rows)
        self.fixed = _fixed_dataset(loader)

    def get(self, index: int) -> Any:
        if index >= self.count:
            raise NoSuchBatch
        if self._passes is not None and index in (0, self._given + 1):
            batch = self._passes.get(index)  # its workers read ahead
            self._given = index
            if index == self.count - 1:
                self._passes = Passes(self._loader)  # and go home
            return batch
        return self._read(self._numbers[index])

    def _read(self, rows: Any) -> Any:
        """As torch's own fetcher does it."""
        loader = self._loader
        if loader.batch_sampler is None:
            return loader.collate_fn(loader.dataset[rows])
        many = getattr(loader.dataset, "__getitems__", None)
        found = many(rows) if many else [loader.dataset[row] for row in rows]
        return loader.collate_fn(found)


def _fixed_dataset(loader: DataLoader[Any]) -> bool:
    plain = type(loader.dataset) is TensorDataset
    return plain and loader.collate_fn in (default_collate, default_convert)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (isinstance(value, torch.Tensor) and value.is_nested)


def _is_row(batch: Any) -> bool:
    """Whether a batch is a list of two or more numbers, which are no arguments of a model."""
    plain = isinstance(batch, list) and len(batch) > 1
    return plain and all(isinstance(x, int | float | np.generic) for x in batch)


def _numeric(data: Any) -> bool:
    """Whether all NumPy arrays can become tensors."""
    arrays = [x for x in tree_flatten(data)[0] if isinstance(x, np.ndarray)]
    return all(x.dtype.kind in "biufc" for x in arrays)
