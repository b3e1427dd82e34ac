"""All draws of some sites for one minibatch, chunk by chunk, over the program's workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from pyro_posterior.contracts import Block, Minibatch, Program, Site


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
    program: Program,
    minibatch: Minibatch,
    sites: Sequence[Site],
    num_samples: int,
    pool: ThreadPoolExecutor | None,
    progressed: Callable[[int], None],
) -> Block:
    """``num_samples`` joint draws of ``sites`` for one minibatch.

    ``progressed`` is called with the number of draws of every chunk done. Values that no draw
    enters come back expanded along the draw axis, without copies.
    """
    made = program.on(minibatch, sites)

    def draw(part: range) -> Block:  # a guide may return its parameters as they are
        return {name: value.detach() for name, value in made(part).items()}

    parts = chunks(num_samples, program.chunk)
    first = draw(parts[0])
    progressed(len(parts[0]))
    if len(parts) == 1:
        return first
    block = {name: _room_for(value, num_samples) for name, value in first.items()}

    def fill(part: range) -> int:
        for name, value in draw(part).items():
            if not _is_constant(block[name]):
                block[name][part.start : part.stop] = value
        return len(part)

    for name, value in first.items():
        if not _is_constant(block[name]):
            block[name][: len(parts[0])] = value
    del first
    for done in (pool.map if pool else map)(fill, parts[1:]):
        progressed(done)
    return block


def _is_constant(value: torch.Tensor) -> bool:
    return value.shape[0] > 1 and value.stride(0) == 0


def _room_for(value: torch.Tensor, num_samples: int) -> torch.Tensor:
    shape = (num_samples, *value.shape[1:])
    if _is_constant(value):
        return value[:1].expand(shape)
    return torch.empty(shape, dtype=value.dtype, device=value.device)
