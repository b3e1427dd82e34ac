"""Reductions of arrays that are read piece by piece: sums are in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np


class Pieces(Protocol):
    """What can be reduced."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def blocks(self) -> Iterable[tuple[slice, ...]]: ...

    def __getitem__(self, index: Any) -> Any: ...


def reduce_blocks(
    array: Pieces,
    name: str,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    *,
    keepdims: bool = False,
    ddof: float = 0,
) -> Any:
    """One of mean, std, var, sum, min, max, any, all along some axes (None: all), as NumPy has it.

    Memory holds one piece and the answer.
    """
    ndim = len(array.shape)
    axes = _axes(axis, ndim)
    kept = tuple(1 if place in axes else length for place, length in enumerate(array.shape))
    # NumPy's own answer for nothing gives the dtype, and what it raises where there is none.
    sample = np.ones((1,) * ndim, array.dtype)
    options = {} if dtype is None else {"dtype": dtype}
    answer_dtype = np.asarray(getattr(sample, name)(axis=None, **options)).dtype
    count = int(np.prod([array.shape[place] for place in axes], dtype=np.int64))
    if name in ("mean", "std", "var"):
        found = _moments(array, axes, kept, name, ddof, count)
    else:
        found = _folded(array, axes, kept, name, count, answer_dtype)
    answer = found.astype(answer_dtype)
    if not keepdims:
        answer = answer.reshape([n for place, n in enumerate(kept) if place not in axes])
    if out is not None:
        out[...] = answer
        return out
    return answer[()]


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple | list) else (axis,)
    for place in given:
        if not -ndim <= place < ndim:
            raise np.exceptions.AxisError(place, ndim)
    return tuple(int(place) % ndim for place in given)


def _to(block: tuple[slice, ...], axes: tuple[int, ...]) -> tuple[slice, ...]:
    """Where the answer of a block belongs."""
    return tuple(slice(None) if place in axes else at for place, at in enumerate(block))


def _folded(
    array: Pieces,
    axes: tuple[int, ...],
    kept: tuple[int, ...],
    name: str,
    count: int,
    dtype: np.dtype[Any],
) -> np.ndarray:
    fold: Callable[..., Any] = {
        "sum": np.add,
        "min": np.minimum,
        "max": np.maximum,
        "any": np.logical_or,
        "all": np.logical_and,
    }[name]
    if not count and name in ("min", "max"):
        raise ValueError(f"zero-size array to reduction operation {name} which has no identity")
    wide = np.dtype({"f": np.float64, "c": np.complex128}.get(dtype.kind, dtype))
    wide = wide if name == "sum" else dtype
    found = np.full(kept, name == "all", wide)
    seen = np.zeros(kept, bool)
    for block in array.blocks():
        to = _to(block, axes)
        options = {"dtype": wide} if name == "sum" else {}
        part = getattr(array[block], name)(axis=axes, keepdims=True, **options)
        found[to] = np.where(seen[to], fold(found[to], part), part)
        seen[to] = True
    return found


def _moments(
    array: Pieces,
    axes: tuple[int, ...],
    kept: tuple[int, ...],
    name: str,
    ddof: float,
    count: int,
) -> np.ndarray:
    """Mean, or sums of squares about it combined pairwise (Chan, Golub and LeVeque, 1983)."""
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    mean, square = np.zeros(kept, wide), np.zeros(kept)
    seen = np.zeros(kept)
    for block in array.blocks():
        to = _to(block, axes)
        values = np.asarray(array[block])
        number = np.prod([values.shape[place] for place in axes])
        part = values.mean(axis=axes, keepdims=True, dtype=wide)
        total = seen[to] + number
        gap = part - mean[to]
        if name != "mean":
            about = values.var(axis=axes, keepdims=True, dtype=wide) * number
            square[to] += about + np.abs(gap) ** 2 * (seen[to] * number / total)
        mean[to] += gap * (number / total)
        seen[to] = total
    if not count:
        mean[...] = np.nan
        square[...] = np.nan
    if name == "mean":
        return mean
    with np.errstate(all="ignore"):
        variance = square / max(count - ddof, 0)
    return np.sqrt(variance) if name == "std" else variance
