"""Where a draw stands in its column's Latin hypercube: a keyed permutation, computed point by point.

Draw s of column c stands at ``T[t2][(T[t1][(a s + b) mod L] + d) mod L]``: two look-ups in a few
random permutations T of the L positions, entered at places that come from the column's words. One
look-up is too little (columns coincide), and an affine map alone makes pairs of columns dependent.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from pyro_posterior.keyed.hashing import PERMUTATION
from pyro_posterior.keyed.scratch import scratch

#: Permutations per length, as many as keep to a core's cache; part of the definition of the numbers.
ENTRIES, MOST, FEWEST = 32768, 64, 8

#: Longest hypercube whose positions are exact in float32.
EXACT_IN_FLOAT32 = 1448


@dataclass(frozen=True)
class Tables:
    """The permutations for one length."""

    length: int
    count: int
    units: torch.Tensor  # numbers coprime to the length, in the type of the arithmetic
    first: torch.Tensor  # (count * L), in the type of the arithmetic
    second: torch.Tensor  # (count * 2L): rows twice over, centres of positions scaled to (-1, 1)

    @property
    def dtype(self) -> torch.dtype:
        """Of the arithmetic."""
        return self.units.dtype


@functools.lru_cache(maxsize=16)
def tables(length: int, dtype: torch.dtype, device: torch.device) -> Tables:
    """The permutations for hypercubes of ``length`` draws, centres in ``dtype``."""
    count = max(FEWEST, min(MOST, ENTRIES // length))
    generator = torch.Generator().manual_seed(0x5EED)  # part of the definition of the numbers
    keys = torch.rand(2 * count, length, generator=generator, dtype=torch.float64)
    order = keys.argsort(1)
    centres = (2 * order[count:].double() + 1 - length) / length
    numbers = torch.arange(1, max(2, length))
    units = numbers[torch.gcd(numbers, torch.tensor(length)) == 1]
    exact = torch.float32 if length <= EXACT_IN_FLOAT32 else torch.float64
    return Tables(
        length,
        count,
        units.to(exact).to(device),
        order[:count].to(exact).flatten().to(device),
        torch.cat([centres, centres], 1).to(dtype).flatten().to(device),
    )


def places(found: Tables, words: torch.Tensor) -> torch.Tensor:
    """``(4, column)``, where columns with these words enter: step, start, and the two look-ups."""
    step, start, shift, first, second = words[PERMUTATION]
    length = found.length
    return torch.stack(
        [
            found.units[_below(step, len(found.units))],
            _below(start, length) + 0.5,
            _below(first, found.count) * length,
            _below(second, found.count) * (2 * length) + _below(shift, length),
        ]
    ).to(found.dtype)


def _below(word: torch.Tensor, bound: int) -> torch.Tensor:
    """Whole numbers below ``bound`` from 32-bit words."""
    return ((word.long() + (1 << 31)) * bound) >> 32


def centres(
    found: Tables, at: torch.Tensor, draws: torch.Tensor, out: torch.Tensor
) -> torch.Tensor:
    """``(draw, column)``: the middle of each draw's stratum, the unit interval taken as (-1, 1).

    ``draws`` are places in the hypercube, ``(draw, 1)``.
    """
    step, start, first, second = at
    shape, device = tuple(out.shape), out.device
    x = scratch("place", shape, found.dtype, device)
    turns = scratch("turns", shape, found.dtype, device)
    index = scratch("index", shape, torch.int32, device)
    torch.addcmul(start, draws.to(found.dtype), step, out=x)
    torch.mul(x, 1 / found.length, out=turns).floor_()
    x.sub_(turns, alpha=found.length)  # ends in .5, so that cutting it is safe
    index.copy_(x.add_(first))
    torch.index_select(found.first, 0, index.view(-1), out=x.view(-1))
    index.copy_(x.add_(second))
    torch.index_select(found.second, 0, index.view(-1), out=out.view(-1))
    return out
