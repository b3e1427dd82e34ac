"""Order statistics of many rows, without sorting each row whole.

Sorting networks make short rows several times cheaper to sort, value by value, than long ones. So a
row is cut into runs, each run is sorted, and the ends of the runs, which hold all values that can
have a rank near the end, are sorted together. Ranks near the middle need the whole row sorted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

#: Longest run in bytes: NumPy's vectorised sort takes so much in registers, without partitioning.
RUN_BYTES = 2048


def order_statistics(rows: np.ndarray, ranks: Iterable[int]) -> dict[int, np.ndarray]:
    """The values of some ranks in each row.

    Parameters
    ----------
    rows
        ``(row, value)``, contiguous; reordered within rows. NaN counts as the largest value.
    ranks
        Ranks from 0 (the smallest) to the number of values less one.

    Returns
    -------
    ``{rank: (row,)}``, what ``np.sort(rows, axis=1)[:, rank]`` gives.
    """
    count = rows.shape[1]
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    low = [rank for rank in wanted if rank < count // 2]
    high = [rank for rank in wanted if rank >= count // 2]
    longest = RUN_BYTES // rows.itemsize
    runs = math.ceil(count / longest)
    start = _End.of(count, runs, low[-1]) if low else None
    stop = _End.of(count, runs, count - 1 - high[0]) if high else None
    if runs == 1 or sum(end.size for end in (start, stop) if end) > count // 2:
        rows.sort(axis=1)
        return {rank: rows[:, rank] for rank in wanted}
    length = count // runs
    cut = rows[:, : runs * length].reshape(len(rows), runs, length)
    cut.sort(axis=2)
    rest = rows[:, runs * length :]
    found: dict[int, np.ndarray] = {}
    unsure = np.zeros(len(rows), bool)
    if start:
        first, more = start.candidates(cut, rest)
        unsure |= more
        found |= order_statistics(first, low)
    if stop:
        last, more = stop.candidates(cut, rest, from_above=True)
        unsure |= more
        shift = count - last.shape[1]
        above = order_statistics(last, [rank - shift for rank in high])
        found |= {rank + shift: values for rank, values in above.items()}
    if unsure.any():
        whole = np.sort(rows[unsure], axis=1)
        for rank, values in found.items():
            values[unsure] = whole[:, rank]
    return found


@dataclass(frozen=True)
class _End:
    """How much of each run's end is taken along to find the ranks up to one near that end."""

    runs: int
    sure: int  # values of each run that are enough for the rank together
    taken: int  # values of each run that are sorted together
    rest: int

    @classmethod
    def of(cls, count: int, runs: int, rank: int) -> _End:
        """For the ranks 0 to ``rank`` of ``count`` values in so many runs."""
        sure = math.ceil((rank + 1) / runs)
        # Runs of independent draws differ by about the root of `sure`; six times it is rarely
        # too little, and whether it is enough is looked at.
        taken = sure + math.ceil(6.0 * math.sqrt(sure)) + 4
        return cls(runs, sure, taken, count - runs * (count // runs))

    @property
    def size(self) -> int:
        """Number of candidates."""
        return self.runs * self.taken + self.rest

    def candidates(
        self, runs: np.ndarray, rest: np.ndarray, from_above: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values among which the ranks are, and the rows for which that is not sure.

        The ``sure`` first values of all runs are enough for the rank, so it lies no higher than
        the largest of them. Where every run's first value left out is as large, nothing is missed.
        """
        length = runs.shape[2]
        if from_above:
            bound = runs[:, :, length - self.sure].min(axis=1)
            left_out = runs[:, :, length - self.taken - 1].max(axis=1)
            covered = left_out <= bound
            ends = runs[:, :, length - self.taken :]
        else:
            bound = runs[:, :, self.sure - 1].max(axis=1)
            covered = runs[:, :, self.taken].min(axis=1) >= bound
            ends = runs[:, :, : self.taken]
        ends = ends.reshape(len(runs), self.runs * self.taken)
        return np.concatenate([ends, rest], axis=1), ~covered
