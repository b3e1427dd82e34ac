"""Minibatches, in the loader's order, from tensors, loaders or any re-iterable of batches."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior.contracts import Minibatch
from pyro_posterior.data.arguments import ToArgs, arguments_of
from pyro_posterior.data.digest import digest
from pyro_posterior.data.sources import NoSuchBatch, Source, open_source
from pyro_posterior.errors import RequestError


class Batches:
    """Minibatches on one device, by number or one after the other.

    A plain iterable is read in one pass as long as numbers increase, and anew where they do not.
    Each minibatch that might have changed since it was first read is compared with what it was.

    Attributes
    ----------
    count
        Number of minibatches; None where only a whole pass tells.
    rows
        Observations per minibatch; None where reading the data alone tells.
    fixed
        Whether the source is plain tensors in memory, the same whenever they are read.
    """

    def __init__(self, source: Source, to_args: ToArgs | None, device: torch.device) -> None:
        self._source = source
        self._to_args = to_args
        self._device = device
        self._digests: dict[int, str] = {}
        self._latest: Minibatch | None = None
        self.count, self.rows, self.fixed = source.count, source.rows, source.fixed

    @property
    def only_rows(self) -> bool:
        """Whether every tensor is known to have the observations as its first axis."""
        return self.fixed and self.rows is not None and self._to_args is None

    def get(self, index: int) -> Minibatch:
        """Minibatch number ``index``.

        Raises
        ------
        NoSuchBatch
            There are fewer.
        RequestError
            It is empty, or not what it was when it was read before.
        """
        if self._latest is None or self._latest.index != index:
            args, kwargs = arguments_of(self._source.get(index), index, self._to_args)
            given = Minibatch(index, args, kwargs)
            _check_rows(given)
            only_once = self.count == 1 and not self._digests
            if not self.fixed and not only_once:
                self._compare(given)
            args, kwargs = tree_map(self._place, (args, kwargs))
            self._latest = Minibatch(index, args, kwargs)
        return self._latest

    def digest(self, index: int) -> str:
        """The digest of minibatch number ``index``; the data are read where it is not yet known."""
        if index not in self._digests:
            found = self.get(index)
            self._digests.setdefault(index, digest(found))
        return self._digests[index]

    def expect(self, digests: Sequence[str]) -> None:
        """Compare every minibatch with what another process read: its digest there."""
        self._digests.update(enumerate(digests))

    def __iter__(self) -> Iterator[Minibatch]:
        index = 0
        while True:
            try:
                minibatch = self.get(index)
            except NoSuchBatch:
                return
            yield minibatch
            index += 1

    def _compare(self, minibatch: Minibatch) -> None:
        found = digest(minibatch)
        if self._digests.setdefault(minibatch.index, found) != found:
            raise RequestError(
                f"minibatch {minibatch.index} is not what it was on an earlier pass over the data: "
                "every pass must give the same batches in the same order (no shuffling, no random "
                "augmentation); or pass list(data)"
            )

    def _place(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value.is_inference():  # made in the caller's inference mode: it could not be recorded
            value = value.clone()
        return value.to(self._device)

    def first_two(self) -> tuple[Minibatch, Minibatch | None]:
        """The first minibatch, and the second where there is one."""
        found = [minibatch for _, minibatch in zip(range(2), self, strict=False)]
        if not found:
            raise RequestError("data holds no batches: give at least one observation")
        return found[0], found[1] if len(found) == 2 else None


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
        Full data: a tensor or array, dense or sparse, a DataFrame, Series or DataArray, or a tuple
        or dict of them. Or batches: a DataLoader, a list, any other re-iterable.
    batch_size
        Observations per minibatch of full data, cut along the first axis; None: one minibatch.
    to_args
        Turns a batch, of which it gets a copy, into the model's ``(args, kwargs)``. By default a
        tensor is the one argument, a tuple or list the positional and a dict the keyword arguments.

    Raises
    ------
    RequestError
        No data, a one-shot iterator, a shuffling loader, or ``batch_size`` beside ready batches.
    """
    check_batch_size(batch_size)
    size = None if batch_size is None else int(batch_size)
    return Batches(open_source(data, size, converted=to_args is not None), to_args, device)


def check_batch_size(batch_size: Any) -> None:
    """Raise `RequestError` unless it is None or a whole number from 1 on."""
    if batch_size is None:
        return
    if not isinstance(batch_size, numbers.Integral):
        raise RequestError(f"batch_size must be a whole number, found {batch_size!r}")
    if isinstance(batch_size, bool) or batch_size < 1:
        raise RequestError(f"batch_size must be at least 1, found {batch_size!r}")


# ------------------------------------------------------------------------ minibatches' sizes


def leading_sizes(minibatch: Minibatch) -> list[int]:
    """First-axis lengths of the tensors among the arguments, in order."""
    leaves = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
    return [len(x) for x in leaves if isinstance(x, torch.Tensor) and x.dim() > 0]


def _check_rows(minibatch: Minibatch) -> None:
    sizes = leading_sizes(minibatch)
    if sizes and not any(sizes):
        raise RequestError(
            f"minibatch {minibatch.index} holds no observations: leave empty batches out"
        )
