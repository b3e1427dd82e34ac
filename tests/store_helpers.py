"""Comparing stores byte by byte, and data that make something happen in the middle of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toy_models import ConjugateNormal, sample


def contents(store: Path) -> dict[str, str]:
    """A digest of every file that the numbers fix; the time taken is in ``run.json``."""
    return {
        str(file.relative_to(store)): hashlib.blake2b(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file() and file.name != "run.json"
    }


def assert_same_bytes(one: Path, other: Path) -> None:
    """Two stores with the same files, byte by byte."""
    a, b = contents(one), contents(other)
    assert sorted(a) == sorted(b)
    assert [name for name in a if a[name] != b[name]] == []


class Batches:
    """Minibatches of given sizes; ``event(index)`` is called before each is handed out."""

    def __init__(
        self, toy: ConjugateNormal, sizes: list[int], event: Callable[[int], Any] | None = None
    ) -> None:
        assert sum(sizes) == toy.num_obs
        self._toy, self._sizes, self._event = toy, sizes, event

    def __iter__(self) -> Iterator[Any]:
        y, index = self._toy.data
        low = 0
        for number, size in enumerate(self._sizes):
            if self._event is not None:
                self._event(number)
            yield y[low : low + size], index[low : low + size]
            low += size


def run(toy: ConjugateNormal, data: Any, **kwargs: Any) -> Any:
    """A short run with draws."""
    defaults = {"num_samples": 11, "return_samples": True}
    return sample(toy.model, toy.guide, data, **{**defaults, **kwargs})


def complete_segments(store: Path) -> int:
    """Number of completion marks."""
    return len(list(store.glob("segments/*.json")))
