"""Indexing with masks that no draw enters: as indexing with positions, which has a batched form.

How many values ``x[mask]`` has depends on the mask alone, whatever ``x`` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

aten = torch.ops.aten

_INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


def is_mask(value: Any) -> bool:
    """Whether an index picks by true and false."""
    return isinstance(value, torch.Tensor) and value.dtype in (torch.bool, torch.uint8)


def masks_of(func: Any, args: tuple[Any, ...]) -> list[torch.Tensor]:
    """The masks on which alone the shape of the result depends, where it depends on values."""
    if func is aten.index.Tensor:
        return [value for value in args[1] if is_mask(value)]
    return [args[1]] if func is aten.masked_select.default else []


def by_positions(
    func: Any, args: tuple[Any, ...], positions: Callable[[Any], list[torch.Tensor] | None]
) -> tuple[Any, ...] | None:
    """The arguments with positions in place of masks, or None where it has none to replace.

    Parameters
    ----------
    func, args
        An operation.
    positions
        Of an index: where it is true, one tensor an axis; None for what is no mask, or drawn.
    """
    if func in _INDEXED:
        found = list(_spread(args[1], positions))
        if len(found) == len(args[1]) and all(a is b for a, b in zip(found, args[1], strict=True)):
            return None
        return (args[0], found, *args[2:])
    return None


def _spread(indices: Any, positions: Callable[[Any], list[torch.Tensor] | None]) -> Iterator[Any]:
    for index in indices:
        found = None if index is None else positions(index)
        if found is None:
            yield index
        else:
            yield from found


def picked_by_numbers(x: torch.Tensor, index: Any) -> torch.Tensor | None:
    """``x[k]`` with whole numbers in tensors without axes, which torch would turn into Python's.

    A copy, where torch gives a view. None where there is no such number, or where other tensors
    take part.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if not any(_is_number(part) for part in parts):
        return None
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    axis, left, behind = 0, list[Any](), x.dim() - taken
    for part in parts:
        if _is_number(part):
            x = aten.index.Tensor(x, [None] * axis + [part])
            continue
        if not (part is None or part is Ellipsis or isinstance(part, int | slice)):
            return None
        if part is Ellipsis:
            axis += behind
        elif part is not None and not isinstance(part, bool):
            axis += 1
        left.append(part)
    return x[tuple(left)] if left else x


def _is_number(part: Any) -> bool:
    if not isinstance(part, torch.Tensor) or part.dim() or part.dtype == torch.uint8:
        return False
    return not (part.is_floating_point() or part.is_complex() or part.dtype == torch.bool)
