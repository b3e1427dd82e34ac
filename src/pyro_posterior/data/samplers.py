"""The order in which a torch DataLoader gives its rows, which must be the same on every pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from pyro_posterior.errors import RequestError
from pyro_posterior.warn import warn

_RANDOM = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)

#: Samplers of exactly these types give the same rows on every pass.
_ORDERED = (SequentialSampler, BatchSampler, DistributedSampler, list, tuple, range, np.ndarray)


def row_numbers(loader: DataLoader[Any]) -> list[Any] | None:
    """Row numbers of each batch, or None where the dataset is only iterable.

    A word is said where ``drop_last=True`` leaves observations out.

    Raises
    ------
    RequestError
        A sampler, at any depth, gives its rows in random order.
    """
    if isinstance(loader.dataset, IterableDataset):
        if loader.drop_last:
            warn(
                "the DataLoader has drop_last=True: observations of a last batch that is not "
                "full are left out; make it with drop_last=False to have them in the result"
            )
        return None
    outer: Any = loader.batch_sampler if loader.batch_sampler is not None else loader.sampler
    samplers = list(_within(outer))
    for sampler in samplers:
        if isinstance(sampler, _RANDOM) or (
            isinstance(sampler, DistributedSampler) and sampler.shuffle
        ):
            raise _shuffles(sampler)
    rows = list(outer)
    custom = [sampler for sampler in samplers if type(sampler) not in _ORDERED]
    if custom and not _same(rows, list(outer)):
        raise _shuffles(custom[-1])
    _say_what_is_dropped(samplers, rows)
    return rows if all(isinstance(batch, Sequence | np.ndarray) for batch in rows) else None


def _within(sampler: Any) -> Iterator[Any]:
    """A sampler and those it takes its rows from."""
    seen: list[Any] = []
    waiting = [sampler]
    while waiting:
        found = waiting.pop(0)
        if any(found is other for other in seen):
            continue
        seen.append(found)
        yield found
        inner = getattr(found, "__dict__", {}).values()
        waiting += [x for x in inner if isinstance(x, torch.utils.data.Sampler)]


def _shuffles(sampler: Any) -> RequestError:
    return RequestError(
        f"the DataLoader shuffles ({type(sampler).__name__} gives its rows in another order on "
        "every pass), so the rows of the result could not be matched with the observations: make "
        "one with shuffle=False and no random sampler"
    )


def _same(one: list[Any], other: list[Any]) -> bool:
    if len(one) != len(other):
        return False
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _say_what_is_dropped(samplers: list[Any], rows: list[Any]) -> None:
    for sampler in samplers:
        source: Any = getattr(sampler, "sampler", None)
        if not getattr(sampler, "drop_last", False) or not hasattr(source, "__len__"):
            continue
        left_out = len(source) - sum(len(batch) for batch in rows)
        if left_out > 0:
            warn(
                f"the DataLoader has drop_last=True: its last {left_out} observations are left "
                "out; make it with drop_last=False to have them in the result"
            )
            return
