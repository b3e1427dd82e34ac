"""Uniform numbers for any draws of any columns, with as many digits near 0 as near 1.

They come as ``2u - 1`` in the type asked for; for the few in either tail there is beside it the
distance to the nearer end in float64, so that an inverse distribution function neither cuts nor thins
a tail, whatever the type.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pyro_posterior.keyed import hashing, strata
from pyro_posterior.keyed.scratch import scratch

#: Part of the unit interval at each end that counts as tail.
TAIL = 1 / 1024


@dataclass(frozen=True)
class Columns:
    """Some columns of one operation: their words and, in a hypercube, where they enter its tables."""

    words: tuple[int, ...]  # of the key
    bits: tuple[torch.Tensor, ...]
    numbers: torch.Tensor
    tables: strata.Tables | None = None
    places: tuple[torch.Tensor, torch.Tensor] | None = None

    def cut(self, low: int, high: int) -> Columns:
        """Those from ``low`` to ``high``."""
        bits = tuple(word[low:high] for word in self.bits)
        numbers, places = self.numbers[low:high], self.places
        if places is not None:
            places = (places[0][low:high], places[1][low:high])
        return Columns(self.words, bits, numbers, self.tables, places)


def make_columns(
    words: tuple[int, ...],
    numbers: range,
    length: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Columns:
    """Columns in a hypercube of ``length`` draws; 1: independent draws."""
    found = torch.arange(numbers.start, numbers.stop, device=device)
    made = hashing.column_words(words, found)
    own = tuple(made[hashing.BITS].clone())
    if length == 1:
        return Columns(words, own, found)
    tables = strata.tables(length, dtype, device)
    return Columns(words, own, found, tables, strata.places(tables, made))


#: Bytes of columns' words that a thread keeps for the next chunk of draws.
KEPT_BYTES = 64 << 20


class _Kept(threading.local):
    def __init__(self) -> None:
        self.columns: OrderedDict[object, Columns] = OrderedDict()
        self.size = 0  # number of columns


_kept = _Kept()


def blocks(
    words: tuple[int, ...],
    count: int,
    length: int,
    dtype: torch.dtype,
    device: torch.device,
    step: int,
) -> Iterator[Columns]:
    """The columns ``0 .. count``, ``step`` at a time, kept for the next call where they are few."""
    most = KEPT_BYTES // 36  # seven words of four bytes, and a number of eight
    if count > most // 4:
        for low in range(0, count, step):
            numbers = range(low, min(low + step, count))
            yield make_columns(words, numbers, length, dtype, device)
        return
    name = (words, count, length, dtype, device)
    whole = _kept.columns.get(name)
    if whole is None:
        whole = _kept.columns[name] = make_columns(words, range(count), length, dtype, device)
        _kept.size += count
        while _kept.size > most:
            _kept.size -= len(_kept.columns.popitem(last=False)[1].numbers)
    else:
        _kept.columns.move_to_end(name)
    if step >= count:
        yield whole
        return
    for low in range(0, count, step):
        yield whole.cut(low, min(low + step, count))


@dataclass(frozen=True)
class Tail:
    """Numbers near 0 or 1, which are few: where they are, and what they are made of."""

    rows: np.ndarray
    columns: np.ndarray
    upper: np.ndarray  # whether they are near 1
    bits: np.ndarray
    centres: np.ndarray | None  # of their strata

    def distance(self, words: tuple[int, ...], length: int) -> np.ndarray:
        """To the nearer end, in float64, above 0."""
        bits = self.bits.astype(np.int64)
        below = hashing.more_bits(words, self.columns, bits)
        return _distance(self.upper, bits, below, self.centres, length)


def together(tails: Sequence[Tail]) -> Tail:
    """The tails of some blocks of columns, as one."""
    if len(tails) == 1:
        return tails[0]
    centres = [tail.centres for tail in tails if tail.centres is not None]
    return Tail(
        np.concatenate([tail.rows for tail in tails]),
        np.concatenate([tail.columns for tail in tails]),
        np.concatenate([tail.upper for tail in tails]),
        np.concatenate([tail.bits for tail in tails]),
        np.concatenate(centres) if centres else None,
    )


def uniforms(
    columns: Columns, draws: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, Tail]:
    """Uniform numbers u of some columns as ``2u - 1``, and those in the tails once more.

    Parameters
    ----------
    columns
        Of the values.
    draws
        32-bit numbers, of the draws in their hypercube, or of the draws where there is none:
        ``(draw, 1)`` for all draws of all columns; ``(column,)`` for one draw of each.
    dtype
        float32 or float64.

    Returns
    -------
    tuple
        The first is memory that the next call takes, and may be written to.
    """
    device, count = draws.device, columns.numbers.numel()
    shape = (draws.shape[0], count) if draws.dim() > 1 else (count,)
    bits = hashing.bits(columns.bits, draws, scratch("bits", shape, torch.int32, device))
    part = scratch("part", shape, dtype, device).copy_(bits)
    if dtype == torch.float64:
        below = hashing.more_bits(columns.words, columns.numbers, bits)
        part.add_(below.double().add_(2.0**31 + 0.5), alpha=2.0**-32)
    length, centre = 1, None
    if columns.tables is not None and columns.places is not None:
        length = columns.tables.length
        centre = scratch("centre", shape, dtype, device)
        strata.centres(columns.tables, columns.places, draws, centre)
        x = torch.add(centre, part, alpha=2.0**-31 / length, out=part)
    else:
        x = part.mul_(2.0**-31)
    where = _outside(x, 1 - 2 * TAIL)
    row, column = np.divmod(where, count) if draws.dim() > 1 else (where, where)
    upper = _taken(x, where) > 0
    centres = None if centre is None else _taken(centre, where)
    return x, Tail(row, _taken(columns.numbers, column), upper, _taken(bits, where), centres)


def _distance(
    upper: np.ndarray, bits: np.ndarray, below: np.ndarray, centre: np.ndarray | None, length: int
) -> np.ndarray:
    """From 0 or 1, of the numbers made of these bits in the strata around ``centre``."""
    sign = np.where(upper, -1.0, 1.0)
    part = sign * bits + 2.0**31  # exact, so that nothing is lost where it is small
    part += sign * ((below + (2.0**31 + 0.5)) * 2.0**-32)
    part *= 2.0**-32
    if centre is not None:
        part += np.rint((sign * centre.astype(np.float64) * length + (length - 1)) / 2)
        part /= length
    return part


def _outside(x: torch.Tensor, bound: float) -> np.ndarray:
    """Flat indices of values beyond ``bound`` on either side."""
    if x.device.type != "cpu":
        return (x.abs() > bound).flatten().nonzero().flatten().cpu().numpy()
    size = scratch("turns", tuple(x.shape), x.dtype, x.device)
    outside = scratch("outside", tuple(x.shape), torch.bool, x.device).numpy()
    np.greater(np.abs(x.numpy(), out=size.numpy()), bound, out=outside)
    return np.flatnonzero(outside)  # several times faster than torch's


def _taken(x: torch.Tensor, where: np.ndarray) -> np.ndarray:
    if x.device.type != "cpu":
        return x.view(-1)[torch.from_numpy(where).to(x.device)].cpu().numpy()
    return x.numpy().reshape(-1)[where]
