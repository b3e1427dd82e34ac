"""Summaries of draws on the CPU: block by block of columns, each turned, reduced, ordered in cache.

NumPy's sort is vectorised along contiguous memory only, so a block of columns is copied to
``(column, draw)``; everything else is taken while the block is in cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from pyro_posterior.reductions.moments import mean_of, spread_of
from pyro_posterior.reductions.ordered import highest_density, most_frequent
from pyro_posterior.reductions.ranks import order_statistics
from pyro_posterior.reductions.statistic import Statistic

#: Values of a block. Two buffers of so many 4-byte numbers stay in a shared cache; with fewer, calls
#: are so short that two threads wait for the interpreter's lock and are slower than one.
BLOCK_VALUES = 512 * 1024
MIN_COLUMNS, MAX_COLUMNS = 64, 4096
#: Below so many values per thread a thread costs more than it saves.
VALUES_PER_WORKER = 200_000

_HALVES = (torch.float16, torch.bfloat16)


def summarise_columns(
    flat: torch.Tensor, statistics: Sequence[Statistic], workers: int = 1
) -> tuple[list[np.ndarray], int]:
    """Each statistic of each column, and the number of NaN or infinite values.

    Parameters
    ----------
    flat
        ``(draw, column)`` on the CPU, at least one draw, any strides, not complex.
    statistics
        What to compute.
    workers
        Threads; the numbers do not depend on it.

    Returns
    -------
    One array ``(column,)`` per statistic, ``(2, column)`` for an interval, and the count.
    """
    count, columns = flat.shape
    dtype = numpy_dtype(flat.dtype)
    results = [
        np.empty((columns,) if one.values == 1 else (one.values, columns), one.result_dtype(dtype))
        for one in statistics
    ]
    workers = max(1, min(workers, count * columns // VALUES_PER_WORKER))
    width = _block_width(count, columns, workers)
    todo = deque((start, min(start + width, columns)) for start in range(0, columns, width))

    def work() -> int:
        block = _Block(flat, statistics, width)
        nonfinite = 0
        with np.errstate(all="ignore"):
            while todo:
                try:
                    start, stop = todo.popleft()
                except IndexError:  # another thread took the last one
                    break
                nonfinite += block.summarise(start, stop, [r[..., start:stop] for r in results])
        return nonfinite

    if workers == 1:
        return results, work()
    with ThreadPoolExecutor(workers) as pool:
        return results, sum(
            future.result() for future in [pool.submit(work) for _ in range(workers)]
        )


def numpy_dtype(dtype: torch.dtype) -> np.dtype:
    """The NumPy dtype of results: the same, but float32 for bfloat16, which NumPy lacks."""
    if dtype == torch.bfloat16:
        return np.dtype(np.float32)
    return torch.empty(0, dtype=dtype).numpy().dtype


def _block_width(count: int, columns: int, workers: int) -> int:
    width = max(MIN_COLUMNS, min(MAX_COLUMNS, BLOCK_VALUES // count))
    return max(1, min(width, -(-columns // workers)))


class _Block:
    """The buffers of one thread and what is done with them."""

    def __init__(self, flat: torch.Tensor, statistics: Sequence[Statistic], width: int) -> None:
        self.source = flat.view(torch.uint8) if flat.dtype == torch.bool else flat
        stored = torch.float32 if flat.dtype in _HALVES else self.source.dtype
        self.count = flat.shape[0]
        self.statistics = statistics
        self.ranks = {rank for s in statistics for rank in s.ranks(self.count)}
        self.squares = any(s.needs_squares for s in statistics)
        self.all_sorted = any(s.needs_all_sorted for s in statistics)
        self.floating = stored.is_floating_point
        self.rows = torch.empty(self.count * width, dtype=stored)
        self.stage = torch.empty(self.count * width, dtype=stored)
        if not self.floating and any(s.needs_floats for s in statistics):
            self.real = np.empty(self.count * width, np.float64)

    def summarise(self, start: int, stop: int, out: Sequence[np.ndarray]) -> int:
        """Fill ``out`` for columns ``start`` to ``stop``; the number of non-finite values."""
        rows = self._load(start, stop)
        nonfinite, gaps = 0, None
        if self.floating:
            total = np.add.reduce(rows, axis=1)
            doubtful = ~np.isfinite(total)
            if doubtful.any():
                nonfinite = int(np.count_nonzero(~np.isfinite(rows[doubtful])))
                gaps = np.isnan(rows).any(axis=1)
        found = self._moments(rows, total if self.floating else None) | self._extremes(rows)
        shares = {s: _share(rows, s) for s in self.statistics if s.counts}
        ordered = self._order(rows)  # last, since it moves values about
        for statistic, target in zip(self.statistics, out, strict=True):
            if not (statistic.needs_sort or statistic.counts):
                target[...] = found[statistic.kind]
                continue
            if statistic.counts:
                target[...] = shares[statistic]
            elif statistic.kind == "hdi":
                target[...] = highest_density(rows, statistic.q or 0.0)
            elif statistic.kind == "mode":
                target[...] = most_frequent(rows)
            else:
                target[...] = _between(ordered, statistic, self.count)
            if gaps is not None:
                target[..., gaps] = np.nan
        return nonfinite

    def _order(self, rows: np.ndarray) -> dict[int, np.ndarray]:
        """The order statistics asked for; ``rows`` are in order afterwards where all are needed."""
        if not self.all_sorted:
            return order_statistics(rows, self.ranks)
        rows.sort(axis=1)
        return {rank: rows[:, rank] for rank in self.ranks}

    def _load(self, start: int, stop: int) -> np.ndarray:
        """Columns ``start`` to ``stop`` as ``(column, draw)``, contiguous."""
        columns = self.source[:, start:stop]
        size = columns.numel()
        rows = self.rows[:size].view(stop - start, self.count)
        if columns.stride(0) == 1 and self.count > 1:  # already so in memory
            rows.copy_(columns.T)
        else:
            # Two steps, since torch transposes a contiguous matrix in tiles and a part of one not.
            stage = self.stage[:size].view(self.count, stop - start)
            if self.source.dtype == stage.dtype:
                np.copyto(stage.numpy(), columns.numpy())  # one thread, unlike torch's
            else:
                stage.copy_(columns)
            rows.copy_(stage.T)
        return rows.numpy()

    def _moments(self, rows: np.ndarray, total: np.ndarray | None) -> dict[str, np.ndarray]:
        """Sum, mean, variance, sd of each row, as far as asked for; ``rows`` stay as they are."""
        kinds = {statistic.kind for statistic in self.statistics}
        found: dict[str, np.ndarray] = {}
        if "sum" in kinds:
            found["sum"] = (
                np.add.reduce(rows, axis=1, dtype=_sum_dtype(rows)) if total is None else total
            )
        if not self.squares and "mean" not in kinds:
            return found
        stage = self.stage.numpy()
        if total is None:
            real = self.real[: rows.size].reshape(rows.shape)
            np.copyto(real, rows)
            rows, stage = real, self.real
            total = np.add.reduce(rows, axis=1)
        found["mean"] = mean = mean_of(rows, total)
        if self.squares:
            spread = spread_of(rows, mean, stage)
            found["var"], found["std"] = spread.var, spread.std
        return found

    def _extremes(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        kinds = {statistic.kind for statistic in self.statistics}
        reductions = {"min": np.minimum, "max": np.maximum}
        return {kind: f.reduce(rows, axis=1) for kind, f in reductions.items() if kind in kinds}


def _sum_dtype(rows: np.ndarray) -> np.dtype:
    return np.add.reduce(np.empty(0, rows.dtype)).dtype


def _share(rows: np.ndarray, statistic: Statistic) -> np.ndarray:
    """Share of each row's values above, below or at a threshold."""
    compare = {"share above": np.greater, "share below": np.less, "share at": np.equal}
    hits = compare[statistic.kind](rows, statistic.q or 0.0)
    return np.count_nonzero(hits, axis=1) / rows.shape[1]


def _between(ordered: dict[int, np.ndarray], statistic: Statistic, count: int) -> np.ndarray:
    """A median, quantile or two of each row, from the order statistics around it."""
    if statistic.kind == "median":
        value = _real(ordered[count // 2])
        if count % 2 == 0:
            value = (_real(ordered[count // 2 - 1]) + value) / value.dtype.type(2)
        return value
    ends = [
        interpolate(_real(ordered[below]), _real(ordered[above]), weight)
        for below, above, weight in statistic.positions(count)
    ]
    return np.asarray(ends[0] if statistic.values == 1 else np.stack(ends))


def _real(x: np.ndarray) -> np.ndarray:
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def interpolate(below: Any, above: Any, weight: float) -> Any:
    """Between two neighbours, from the nearer one, so that weight 1 gives ``above`` exactly."""
    step = above - below
    return below + step * weight if weight < 0.5 else above - step * (1 - weight)
