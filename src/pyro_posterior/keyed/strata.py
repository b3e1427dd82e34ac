"""Where a draw stands in its column's Latin hypercube: a keyed permutation, computed point by point.

Draw s of column c stands at ``T[t2][(T[t1][(s + b) mod L] + d) mod L]``: two look-ups in a few random
permutations T of the L positions, entered at places that come from the column's words. One look-up
is too little: columns coincide.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from pyro_posterior.keyed.hashing import PERMUTATION
from pyro_posterior.keyed.scratch import scratch

#: Permutations per length, as many as keep to a core's cache; part of the definition of the numbers.
ENTRIES, MOST, FEWEST = 32768, 64, 8


@dataclass(frozen=True)
class Tables:
    """The permutations for one length, each twice over, so that it can be entered anywhere."""

    length: int
    count: int
    first: torch.Tensor  # (count * 2L), positions
    second: torch.Tensor  # (count * 2L), centres of positions, the unit interval taken as (-1, 1)


@functools.lru_cache(maxsize=16)
def tables(length: int, dtype: torch.dtype, device: torch.device) -> Tables:
    """The permutations for hypercubes of ``length`` draws, centres in ``dtype``."""
    count = max(FEWEST, min(MOST, ENTRIES // length))
    generator = torch.Generator().manual_seed(0x5EED)  # part of the definition of the numbers
    keys = torch.rand(2 * count, length, generator=generator, dtype=torch.float64)
    order = keys.argsort(1)
    order = torch.cat([order, order], 1)
    centres = (2 * order[count:].double() + 1 - length) / length
    return Tables(
        length,
        count,
        order[:count].to(torch.int32).flatten().to(device),
        centres.to(dtype).flatten().to(device),
    )


def places(found: Tables, words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where columns with these words enter the two tables."""
    start, shift, first, second = words[PERMUTATION]
    length, count = found.length, found.count
    enter = _below(first, count) * (2 * length) + _below(start, length)
    again = _below(second, count) * (2 * length) + _below(shift, length)
    return enter.to(torch.int32), again.to(torch.int32)


def _below(word: torch.Tensor, bound: int) -> torch.Tensor:
    """Whole numbers below ``bound`` from 32-bit words."""
    return ((word.long() + (1 << 31)) * bound) >> 32


def centres(
    found: Tables,
    at: tuple[torch.Tensor, torch.Tensor],
    draws: torch.Tensor,
    out: torch.Tensor,
) -> torch.Tensor:
    """``(draw, column)``: the middle of each draw's stratum, the unit interval taken as (-1, 1).

    ``draws`` are places in the hypercube, ``(draw, 1)``.
    """
    first, second = at
    shape, device = tuple(out.shape), out.device
    index = scratch("index", shape, torch.int32, device)
    position = scratch("position", shape, torch.int32, device)
    torch.add(draws, first, out=index)
    torch.index_select(found.first, 0, index.view(-1), out=position.view(-1))
    torch.add(position, second, out=index)
    torch.index_select(found.second, 0, index.view(-1), out=out.view(-1))
    return out
