"""All draws of one part of a program, chunk by chunk, over the program's workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from pyro_posterior.contracts import Block, Part, Program


def chunks(num_samples: int, chunk: int) -> list[range]:
    """Ranges of draw numbers, each (but the last) ``chunk`` long."""
    return [range(low, min(low + chunk, num_samples)) for low in range(0, num_samples, chunk)]


@contextlib.contextmanager
def workers_of(program: Program) -> Iterator[ThreadPoolExecutor | None]:
    """A thread pool for the program's workers, torch on one thread each; None for one worker."""
    if program.workers == 1:
        yield None
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(program.workers) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def draw_block(
    part: Part,
    num_samples: int,
    pool: ThreadPoolExecutor | None,
    progressed: Callable[[int], None],
) -> Block:
    """``num_samples`` joint draws of one part.

    ``progressed`` is called with the number of draws of every chunk done. Values that no draw
    enters come back expanded along the draw axis, without copies.
    """

    def draw(draws: range) -> Block:  # a guide may return its parameters as they are
        return {name: value.detach() for name, value in part.draw(draws).items()}

    ranges = chunks(num_samples, part.chunk)
    first = draw(ranges[0])
    progressed(len(ranges[0]))
    if len(ranges) == 1:
        return first
    block = {name: _room_for(value, num_samples) for name, value in first.items()}

    def fill(draws: range) -> int:
        for name, value in draw(draws).items():
            if not _is_constant(block[name]):
                block[name][draws.start : draws.stop] = value
        return len(draws)

    for name, value in first.items():
        if not _is_constant(block[name]):
            block[name][: len(ranges[0])] = value
    del first
    for done in (pool.map if pool else map)(fill, ranges[1:]):
        progressed(done)
    return block


def _is_constant(value: torch.Tensor) -> bool:
    return value.shape[0] > 1 and value.stride(0) == 0


def _room_for(value: torch.Tensor, num_samples: int) -> torch.Tensor:
    shape = (num_samples, *value.shape[1:])
    if _is_constant(value):
        return value[:1].expand(shape)
    if value.device.type == "cpu" and value.dtype != torch.bfloat16:
        # NumPy asks the kernel for huge pages, which are several times faster to touch at first.
        return torch.from_numpy(np.empty(shape, value[:0].numpy().dtype))
    return torch.empty(shape, dtype=value.dtype, device=value.device)
