"""Bits from names: a few integer operations per value, at any (draw, column), in any order.

The column is the flat index of a value in one draw. Each column has words of its own, made of the
whole key; a draw's bits in a column are a hash of its number with three of them. All arithmetic is
that of integers that wrap, so that every device gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pyro_posterior.keyed.scratch import scratch

#: Words of a column: four for its permutation, three for its bits.
PERMUTATION, BITS = slice(0, 4), slice(4, 7)

_ODD = -1640531527  # the golden ratio, which spreads consecutive numbers
_M1, _M2 = 0x7FEB352D, -2073254261  # C. Wellons, "Hash function prospector", 2018
_M3 = -4658895280553007687  # SplitMix64's first multiplier


def mixed(x: torch.Tensor) -> torch.Tensor:
    """Change every bit of 32-bit integers by every other, in place; one to one."""
    _fold(x, 16)
    x *= _M1
    _fold(x, 15)
    x *= _M2
    return _fold(x, 16)


def _fold(x: torch.Tensor, shift: int, moved: torch.Tensor | None = None) -> torch.Tensor:
    """``x ^= x >> shift`` without the sign, which torch's shift drags along."""
    if moved is not None and x.device.type == "cpu":  # NumPy's shift knows no sign: fewer passes
        whole, part = x.numpy(), moved.numpy()
        np.right_shift(whole.view(np.uint32), shift, out=part.view(np.uint32))
        np.bitwise_xor(whole, part, out=whole)
        return x
    moved = torch.bitwise_right_shift(x, shift, out=moved)
    moved &= (1 << (32 - shift)) - 1
    x ^= moved
    return x


def column_words(words: tuple[int, ...], columns: torch.Tensor) -> torch.Tensor:
    """``(7, columns)`` words of the columns of these numbers, from the eight of a key."""
    base = mixed(columns.to(torch.int32) + words[0])
    own = torch.tensor(words[1:], dtype=torch.int32, device=columns.device)
    made = mixed(base ^ own[:, None])
    made[BITS.start + 1 :] |= 1  # multipliers
    return made


def bits(words: Sequence[torch.Tensor], draws: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """32 random bits for each draw and column, the high ones the best.

    Parameters
    ----------
    words
        The three `BITS` of some columns.
    draws
        Numbers of draws as 32-bit integers, which broadcast against ``columns``.
    """
    add, first, second = words
    moved = scratch("index", out.shape, torch.int32, out.device)
    torch.add(draws * _ODD, add, out=out)
    _fold(out, 16, moved).mul_(first)
    return _fold(out, 15, moved).mul_(second)


def more_bits(words: tuple[int, ...], columns: Any, found: Any) -> Any:
    """Another 32 bits, to follow those ``found`` by `bits` in these columns.

    Takes 64-bit integers and gives such, of torch or of NumPy.
    """
    x = (columns << 32) + found
    x += words[3] << 32 | words[6] & 0xFFFFFFFF
    x *= _M3
    x ^= (x >> 31) & 0x1FFFFFFFF
    x *= _M3
    return x >> 32
