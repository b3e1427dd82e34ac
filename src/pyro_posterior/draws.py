"""All draws of one part of a program, chunk by chunk, over the program's workers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType

import numpy as np
import torch

from pyro_posterior.contracts import Block, Part, Program
from pyro_posterior.errors import CannotSliceError, RequestError

logger = logging.getLogger(__name__)


def chunks(num_samples: int, chunk: int) -> list[range]:
    """Ranges of draw numbers, each (but the last) ``chunk`` long."""
    return [range(low, min(low + chunk, num_samples)) for low in range(0, num_samples, chunk)]


@contextlib.contextmanager
def workers_of(program: Program) -> Iterator[ThreadPoolExecutor | None]:
    """A thread pool for the program's workers, torch on one thread each; None for one worker."""
    if program.workers == 1:
        yield None
        return
    with torch_threads(1), ThreadPoolExecutor(program.workers) as pool:
        yield pool


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads, and as many as before afterwards; None: as it does."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def draw_block(
    part: Part,
    num_samples: int,
    pool: ThreadPoolExecutor | None,
    progressed: Callable[[int], None],
    kept: Mapping[str, tuple[slice, ...]] = MappingProxyType({}),
) -> tuple[Block, str]:
    """``num_samples`` joint draws of one part, in memory of their own, and the tier they come from.

    ``progressed`` is called with the number of draws of every chunk done. Sites that no draw
    enters (``part.fixed``) come back expanded along the draw axis, one row for all draws. Of sites
    in ``kept`` no more is held than this index of ``(draw, *site shape)`` says.

    Raises
    ------
    CannotSliceError
        The part cannot be drawn as it was meant to be, and there is nothing else to draw it.
    """
    done = 0

    def told(draws: int) -> None:
        nonlocal done
        done += draws
        progressed(draws)

    try:
        return _drawn(part, num_samples, pool, told, kept), part.tier
    except CannotSliceError as reason:
        if part.instead is None:
            raise
        names = ", ".join(site.name for site in part.sites)
        logger.info("drawing %s anew with the %s: %s", names, part.instead.tier, reason)
    progressed(-done)
    return draw_block(part.instead, num_samples, pool, progressed, kept)


def _drawn(
    part: Part,
    num_samples: int,
    pool: ThreadPoolExecutor | None,
    progressed: Callable[[int], None],
    kept: Mapping[str, tuple[slice, ...]],
) -> Block:
    def draw(draws: range) -> Block:
        return {name: value[kept.get(name, ())] for name, value in part.draw(draws).items()}

    ranges = chunks(num_samples, part.chunk)
    first = draw(ranges[0])
    block = {
        name: _one_for_all(value, num_samples)
        if name in part.fixed
        else _room_for(value, num_samples)
        for name, value in first.items()
    }

    def put(draws: range, found: Block) -> int:
        for name, value in found.items():
            if name not in part.fixed:
                _check_alike(name, block[name], value, draws)
                block[name][draws.start : draws.stop] = value.detach()
        return len(draws)

    progressed(put(ranges[0], first))
    del first
    for count in (pool.map if pool else map)(lambda each: put(each, draw(each)), ranges[1:]):
        progressed(count)
    return block


def _check_alike(name: str, block: torch.Tensor, value: torch.Tensor, draws: range) -> None:
    """Raise where draws have another shape or type than the first, which NumPy would convert."""
    one, other = (block.dtype, tuple(block.shape[1:])), (value.dtype, tuple(value.shape[1:]))
    if one != other:
        raise RequestError(
            f"site {name!r} is {one[0]} of shape {one[1]} in draw 0, but {other[0]} of shape "
            f"{other[1]} in draw {draws.start}: give it one type and shape whatever is drawn, as "
            "torch.where does, or leave it out with exclude_sites"
        )


def _one_for_all(value: torch.Tensor, num_samples: int) -> torch.Tensor:
    return value[:1].detach().clone().expand(num_samples, *value.shape[1:])


def _room_for(value: torch.Tensor, num_samples: int) -> torch.Tensor:
    shape = (num_samples, *value.shape[1:])
    if value.device.type == "cpu" and value.dtype != torch.bfloat16:
        # NumPy asks the kernel for huge pages, which are several times faster to touch at first.
        return torch.from_numpy(np.empty(shape, value[:0].detach().numpy().dtype))
    return torch.empty(shape, dtype=value.dtype, device=value.device)
