"""How many draws make a chunk: as many as suit the cache of a core, or the memory of a GPU."""

from __future__ import annotations

import functools
import math
import os

import torch

from pyro_posterior.keyed.keys import SLAB
from pyro_posterior.sliced.slicing import Slice
from pyro_posterior.sliced.terms import Terms

#: Bytes of random numbers in a chunk, in second-level caches of a core.
CACHES = 2

#: Second-level cache taken where the system does not tell.
USUAL_CACHE_BYTES = 2 << 20

#: Beyond so many draws on a CPU, the cost of a call no longer shows.
MOST_DRAWS_AT_ONCE = 128

#: Share of a GPU's free memory that the random numbers of a chunk may take.
GPU_SHARE = 1 / 16


def chunk_bytes(device: torch.device) -> int:
    """Bytes of random numbers in a chunk, as suits the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE)
    return CACHES * cache_bytes()


def chunk_draws(cut: Slice, terms: Terms) -> int:
    """Draws per chunk of one slice, a multiple of the slab."""
    padded = math.ceil(terms.num_samples / SLAB) * SLAB
    most = padded if terms.device.type == "cuda" else MOST_DRAWS_AT_ONCE
    per_draw = sum(
        cut.tape.nbytes[uid]
        for op in cut.ops
        if op.key is not None
        for uid in op.outs
        if uid is not None
    )
    fits = terms.chunk_bytes // max(per_draw, 1) // SLAB * SLAB
    return max(SLAB, min(fits, most, padded))


@functools.cache
def cache_bytes() -> int:
    """A core's second-level cache, as the C library tells it."""
    try:
        told = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    except (ValueError, OSError, AttributeError):  # not Linux
        return USUAL_CACHE_BYTES
    return told if told > 0 else USUAL_CACHE_BYTES
