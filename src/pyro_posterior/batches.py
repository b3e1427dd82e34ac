"""Minibatches, in the loader's order, from tensors, loaders or any re-iterable of batches."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.data import DataLoader, RandomSampler

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError

#: ``to_args(batch) -> (args, kwargs)`` of model and guide.
ToArgs = Callable[[Any], tuple[Sequence[Any], Mapping[str, Any]]]


class BatchSource(Protocol):
    """Batches as the user has them: countable, and the last one at hand without reading all."""

    def __iter__(self) -> Iterator[Any]: ...

    def last(self) -> Any | None:
        """The last batch, or None where only a whole pass would tell."""
        ...

    def sizes(self) -> list[int] | None:
        """Rows per batch where the source knows them without reading the data."""
        ...


class Batches:
    """Re-iterable minibatches on one device."""

    def __init__(self, source: BatchSource, to_args: ToArgs, device: torch.device) -> None:
        self._source = source
        self._to_args = to_args
        self._device = device

    def __iter__(self) -> Iterator[Minibatch]:
        for index, batch in enumerate(self._source):
            yield self._minibatch(index, batch)

    def _minibatch(self, index: int, batch: Any) -> Minibatch:
        try:
            pair = self._to_args(batch)
        except Exception as error:
            error.add_note(
                f"while turning minibatch {index} ({type(batch).__name__}) into the model's "
                "arguments"
            )
            raise
        try:
            args, kwargs = pair
            args, kwargs = tuple(args), dict(kwargs)
        except (TypeError, ValueError):
            raise RequestError(
                f"the arguments of minibatch {index} came as {type(pair).__name__}: "
                "to_args(batch) must return (args, kwargs), a sequence and a dict"
            ) from None
        args, kwargs = tree_map(self._place, (args, kwargs))
        return Minibatch(index, args, kwargs)

    def _place(self, value: Any) -> Any:
        return value.to(self._device) if isinstance(value, torch.Tensor) else value

    def first_two(self) -> tuple[Minibatch, Minibatch | None]:
        """The first minibatch, and the second where there is one."""
        found = [minibatch for _, minibatch in zip(range(2), self, strict=False)]
        if not found:
            raise RequestError("data holds no batches: give at least one observation")
        return found[0], found[1] if len(found) == 2 else None

    def plan(
        self, size_of: Callable[[Minibatch], int], first_size: int
    ) -> tuple[tuple[int, ...], Minibatch]:
        """Observations per minibatch, and the last minibatch.

        ``size_of`` tells the number of observations of a minibatch; it is asked for every one
        only where the source does not know.
        """
        sizes, last = self._source.sizes(), self._source.last()
        if sizes is not None and last is not None and sizes[0] == first_size:
            return tuple(sizes), self._minibatch(len(sizes) - 1, last)
        counted, minibatch = [], None
        for minibatch in self:
            counted.append(size_of(minibatch))
        if minibatch is None:
            raise RequestError("data holds no batches: give at least one observation")
        return tuple(counted), minibatch


def open_batches(
    data: Any,
    batch_size: int | None,
    to_args: ToArgs | None,
    device: torch.device,
) -> Batches:
    """Find out what ``data`` is.

    Parameters
    ----------
    data
        A tensor (or NumPy array), a tuple or dict of them (full data), or any re-iterable of
        batches such as a DataLoader or a list.
    batch_size
        Observations per minibatch of full data, cut along the first axis; None: one minibatch.
    to_args
        Turns a batch into the model's ``(args, kwargs)``. By default a tensor is the one
        argument, a tuple or list the positional and a dict the keyword arguments.

    Raises
    ------
    RequestError
        No data, a one-shot iterator, a shuffling loader, or ``batch_size`` beside ready batches.
    """
    check_batch_size(batch_size)
    source: BatchSource
    if isinstance(data, torch.Tensor | np.ndarray | tuple | Mapping):
        source = _FullData(data, None if batch_size is None else int(batch_size))
        return Batches(source, to_args or default_to_args, device)
    if batch_size is not None:
        raise RequestError(
            f"batch_size={batch_size} was given, but data is a {type(data).__name__} that makes "
            "batches of its own: set the batch size there, or pass tensors"
        )
    if isinstance(data, DataLoader):
        source = _Loader(data)
    elif isinstance(data, Iterator):
        raise RequestError(
            f"data is a one-shot iterator ({type(data).__name__}); several passes are needed: "
            "pass the list, DataLoader or other object it was made from"
        )
    elif isinstance(data, Iterable):
        source = _AnyIterable(data)
    else:
        raise RequestError(
            f"data is a {type(data).__name__}: pass a tensor, a tuple or dict of tensors, or a "
            "re-iterable of batches such as a DataLoader"
        )
    return Batches(source, to_args or default_to_args, device)


def check_batch_size(batch_size: Any) -> None:
    """Raise `RequestError` unless it is None or a whole number from 1 on."""
    if batch_size is None:
        return
    if not isinstance(batch_size, numbers.Integral):
        raise RequestError(f"batch_size must be a whole number, found {batch_size!r}")
    if isinstance(batch_size, bool) or batch_size < 1:
        raise RequestError(f"batch_size must be at least 1, found {batch_size!r}")


def default_to_args(batch: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """A tensor is the one argument, a tuple or list the positional, a dict the keyword ones.

    NumPy arrays become tensors.
    """
    if isinstance(batch, Mapping):
        batch = dict(batch)
    batch = tree_map(_as_tensor, batch)
    if isinstance(batch, dict):
        return (), batch
    if isinstance(batch, tuple | list):
        return tuple(batch), {}
    return (batch,), {}


class _FullData:
    """Tensors with all observations along the first axis."""

    def __init__(self, data: Any, batch_size: int | None) -> None:
        self._data = tree_map(_as_tensor, dict(data) if isinstance(data, Mapping) else data)
        leaves = [x for x in tree_flatten(self._data)[0] if isinstance(x, torch.Tensor)]
        lengths = [len(x) for x in leaves if x.dim() > 0]
        if batch_size is None:
            self._rows, self._batch_size = (lengths[0] if lengths else 1), None
        else:
            if not lengths:
                raise RequestError("batch_size was given, but data holds no tensor with an axis")
            if len(set(lengths)) > 1:
                raise RequestError(
                    f"the tensors of data have different first axes ({sorted(set(lengths))}): "
                    "with batch_size all are cut along it; pass a DataLoader instead"
                )
            self._rows, self._batch_size = lengths[0], batch_size
        if self._rows == 0 and lengths:
            raise RequestError("data holds no observations: its first axis has length 0")

    def __iter__(self) -> Iterator[Any]:
        for low in self._starts():
            yield self._cut(low)

    def _starts(self) -> range:
        return range(0, self._rows, self._batch_size or max(self._rows, 1))

    def _cut(self, low: int) -> Any:
        if self._batch_size is None:
            return self._data
        high = low + self._batch_size
        return tree_map(
            lambda x: x[low:high] if isinstance(x, torch.Tensor) and x.dim() else x, self._data
        )

    def last(self) -> Any:
        return self._cut(self._starts()[-1])

    def sizes(self) -> list[int]:
        step = self._batch_size or self._rows
        return [min(step, self._rows - low) for low in self._starts()]


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


class _Loader:
    """A torch DataLoader, whose sampler tells sizes and the last batch without reading the rest."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        samplers = [loader.sampler, getattr(loader.sampler, "sampler", None)]
        if any(isinstance(sampler, RandomSampler) for sampler in samplers):
            raise RequestError(
                "the DataLoader shuffles, so the rows of the result could not be matched with "
                "the observations: make one with shuffle=False"
            )
        self._loader = loader
        self._rows = self._row_numbers()

    def _row_numbers(self) -> list[Any] | None:
        """Row numbers of each batch, or None where the dataset is only iterable."""
        loader = self._loader
        if isinstance(loader.dataset, torch.utils.data.IterableDataset):
            return None
        sampler = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
        rows = list(sampler)
        return rows if all(isinstance(batch, Sequence | np.ndarray) for batch in rows) else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def last(self) -> Any | None:
        if not self._rows:
            return None
        loader, rows = self._loader, self._rows[-1]
        if loader.batch_sampler is None:
            return loader.collate_fn(loader.dataset[rows])
        return loader.collate_fn([loader.dataset[row] for row in rows])

    def sizes(self) -> list[int] | None:
        return [len(batch) for batch in self._rows] if self._rows else None


class _AnyIterable:
    """Any re-iterable of batches; counted by a pass over it."""

    def __init__(self, data: Iterable[Any]) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data)

    def last(self) -> None:
        return None

    def sizes(self) -> None:
        return None


# ------------------------------------------------------------------------ minibatches of other sizes


def leading_sizes(minibatch: Minibatch) -> list[int]:
    """First-axis lengths of the tensors among the arguments, in order."""
    leaves = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
    return [len(x) for x in leaves if isinstance(x, torch.Tensor) and x.dim() > 0]


def resized(minibatch: Minibatch, size: int, new_size: int) -> Minibatch:
    """The same minibatch with ``new_size`` rows in every tensor that has ``size`` rows."""

    def resize(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dim() == 0 or len(value) != size:
            return value
        return value[torch.arange(new_size, device=value.device) % size]

    args, kwargs = tree_map(resize, (tuple(minibatch.args), dict(minibatch.kwargs)))
    return Minibatch(minibatch.index, args, kwargs)
