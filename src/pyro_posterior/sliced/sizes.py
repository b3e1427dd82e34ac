"""How many draws make a chunk: as many as suit the cache of a core, or the memory of a device."""

from __future__ import annotations

import functools
import math
import os

import torch

from pyro_posterior.keyed.keys import SLAB
from pyro_posterior.sliced.slicing import DRAW, Slice
from pyro_posterior.sliced.terms import Terms

#: Bytes of random numbers in a chunk, in second-level caches of a core.
CACHES = 2

#: Second-level cache taken where the system does not tell.
USUAL_CACHE_BYTES = 2 << 20

#: Beyond so many draws on a CPU, the cost of a call no longer shows.
MOST_DRAWS_AT_ONCE = 128

#: All values of a chunk that are alive at once on a CPU, over its random numbers. Large enough not
#: to count where values stay in the cache.
LIVE_CHUNKS = 32

#: Share of a GPU's free memory that the random numbers of a chunk may take.
GPU_SHARE = 1 / 16


def chunk_bytes(device: torch.device) -> int:
    """Bytes of random numbers in a chunk, as suits the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE)
    return CACHES * cache_bytes()


def chunk_draws(cut: Slice, terms: Terms) -> int:
    """Draws per chunk of one slice: a multiple of the slab, or fewer draws than a slab on a CPU.

    The random numbers of a chunk take ``terms.chunk_bytes`` at most, and all that is alive at
    once `LIVE_CHUNKS` times that.
    """
    padded = math.ceil(terms.num_samples / SLAB) * SLAB
    gpu = terms.device.type == "cuda"
    random = sum(
        cut.tape.nbytes[uid]
        for op in cut.ops
        if op.key is not None
        for uid in op.outs
        if uid is not None
    )
    alive = terms.chunk_bytes * (1 if gpu else LIVE_CHUNKS) // max(live_bytes(cut), 1)
    fits = min(terms.chunk_bytes // max(random, 1), alive)
    if fits < SLAB:
        few = 1 << max(0, min(alive, SLAB).bit_length() - 1)  # a power of two, which fills slabs
        return SLAB if gpu else min(SLAB, few)
    return min(fits // SLAB * SLAB, padded if gpu else MOST_DRAWS_AT_ONCE, padded)


def live_bytes(cut: Slice) -> int:
    """The most memory that values of one draw take at once, outputs among them.

    Memory counts from the operation that makes it to the last that uses it.
    """
    tape = cut.tape
    last: dict[int, int] = {}
    for position, op in enumerate(cut.ops):
        for uid in (*op.ins, *op.outs):
            if uid is not None:
                last[tape.storage[uid]] = position
    for uid in cut.outputs.values():
        last[tape.storage[uid]] = len(cut.ops)
    ends: dict[int, list[int]] = {}
    for storage, position in last.items():
        ends.setdefault(position, []).append(storage)
    held: dict[int, int] = {}
    now = most = 0
    for position, op in enumerate(cut.ops):
        for uid in op.outs:
            if uid is not None and cut.level(uid) & DRAW and tape.storage[uid] not in held:
                held[tape.storage[uid]] = tape.nbytes[uid]
                now += tape.nbytes[uid]
        most = max(most, now)
        for storage in ends.get(position, ()):
            now -= held.get(storage, 0)
    return most


@functools.cache
def cache_bytes() -> int:
    """A core's second-level cache, as the C library tells it."""
    try:
        told = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (ValueError, OSError, AttributeError):  # not Linux
        return USUAL_CACHE_BYTES
    return told if told > 0 else USUAL_CACHE_BYTES
