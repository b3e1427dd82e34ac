"""Generators whose whole state comes from the whole key, for numbers that are used up by value.

torch's ``manual_seed`` keeps the low 32 bits of a seed on a CPU, so that two keys would share a
stream as soon as their low halves agree.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from pyro_posterior.keyed.keys import SLAB, Key, Piece, Where

_WORDS = 312  # 64-bit words in the state of a Mersenne Twister
_HEAD = 24  # bytes of torch's state before them: seed, how many are left, whether seeded, position

_held = threading.local()


def _numbers(words: tuple[int, ...], units: range, length: int) -> np.ndarray:
    """``(unit, length)`` 64-bit words, a hash (SplitMix64's, with half of the key in its middle)."""
    first, second = (joined(words[i], words[i + 1]) for i in (0, 2))
    rows = np.arange(units.start, units.stop, dtype=np.uint64)[:, None]
    x: Any = rows * np.uint64(length) + np.arange(1, length + 1, dtype=np.uint64)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x += first
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= second
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def joined(high: int, low: int) -> np.uint64:
    """Two 32-bit words as one of 64."""
    return np.uint64((high & 0xFFFFFFFF) << 32 | low & 0xFFFFFFFF)


def generators(
    key: Key, at: Where, device: torch.device, purpose: str = "draw"
) -> Iterator[torch.Generator]:
    """A generator for each draw, good until the next is taken."""
    words = key.words(at, purpose)
    if device.type != "cpu":
        for seed in _numbers(words, at.draws, 1)[:, 0]:
            yield _generator(device).manual_seed(int(seed >> np.uint64(1)))
        return
    generator = _generator(device)
    state = _empty_state()
    body = state[_HEAD : _HEAD + 16 * _WORDS].view(np.uint64)
    for numbers in _numbers(words, at.draws, _WORDS):
        body[:] = numbers.view(np.uint32)
        yield generator.set_state(torch.from_numpy(state))


def bit_generators(key: Key, at: Where, purpose: str = "draw") -> Iterator[np.random.Generator]:
    """As `generators`, NumPy's."""
    if not hasattr(_held, "small"):
        _held.small = np.random.Generator(np.random.SFC64(0))
    bits = _held.small.bit_generator
    state = bits.state
    for numbers in _numbers(key.words(at, purpose), at.draws, 3):
        state["state"]["state"][:3] = numbers
        state["state"]["state"][3] = 1
        bits.state = state
        yield _held.small


def generated(
    out: torch.Tensor, native: str, key: Key, at: Where, piece: Piece, purpose: str
) -> None:
    """Fill the rows of independent draws by torch's own ``native``, `SLAB` draws a generator."""
    first, behind = piece.first, piece.first + len(out)
    slabs = range(first // SLAB, -(-behind // SLAB))
    where = Where(at.seed, slabs, at.minibatch)
    for slab, generator in zip(slabs, generators(key, where, out.device, purpose), strict=True):
        low, high = max(first, slab * SLAB), min(behind, (slab + 1) * SLAB)
        rows = out[low - first : high - first]
        if high - low == SLAB:
            getattr(rows, native)(generator=generator)
            continue
        whole = torch.empty((SLAB, *out.shape[1:]), dtype=out.dtype, device=out.device)
        getattr(whole, native)(generator=generator)
        rows.copy_(whole[low - slab * SLAB : high - slab * SLAB])


def _generator(device: torch.device) -> torch.Generator:
    """This thread's generator on ``device``."""
    held = _held.__dict__.setdefault("by_device", {})
    if device not in held:
        held[device] = torch.Generator(device)
    found: torch.Generator = held[device]
    return found


def _empty_state() -> np.ndarray:
    """torch's state of a generator that has just been seeded, its words to be written."""
    return torch.Generator().manual_seed(0).get_state().numpy().copy()
