"""Which storages lie where in memory, found by address among any number of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable

#: Beginning, end and number of a storage.
Span = tuple[int, int, int]

Alive = Callable[[int], object]


class Spans:
    """Storages by the memory they take, some of which are freed without anybody saying so.

    ``alive(storage)`` tells whether one still is, where that matters. Those that are do not overlap,
    but for a few that share memory in ways that left no trace.
    """

    def __init__(self) -> None:
        self._apart: list[Span] = []  # by address, no two of which overlap
        self._shared: list[Span] = []  # lie in the memory of one that was there

    def add(self, storage: int, low: int, high: int, alive: Alive) -> None:
        """Note a storage; nothing is known of one that takes no memory."""
        if low >= high:
            return
        taken = self.find(low, high, alive) is not None
        span = (low, high, storage)
        self._shared.append(span) if taken else insort(self._apart, span)

    def find(self, low: int, high: int, alive: Alive) -> int | None:
        """A storage that is alive and overlaps this memory; the others there are forgotten."""
        if low >= high:
            return None
        first = bisect_right(self._apart, (low,)) if self._apart else 0
        if first and self._apart[first - 1][1] > low:
            first -= 1
        behind = bisect_left(self._apart, (high,), first)
        found = [span for span in self._apart[first:behind] if alive(span[2])]
        self._apart[first:behind] = found
        if not found and self._shared:
            self._shared = [span for span in self._shared if alive(span[2])]
            found = [span for span in self._shared if span[0] < high and low < span[1]]
        return found[0][2] if found else None
