"""Results in memory: every array is allocated once, at its full size, when its first piece comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pyro_posterior.contracts import Finished, Results, RunPlan, Segment, SegmentResult


class MemoryStore:
    """Segments are copied to their rows; nothing is concatenated."""

    def __init__(self, plan: RunPlan, segments: Sequence[Segment]) -> None:
        self._plan = plan
        self._missing = {segment.number for segment in segments}
        self._results: Results = {name: {} for name in plan.result_names}
        self._nonfinite: dict[int, Mapping[str, int]] = {}
        self._partials: dict[int, Mapping[str, Mapping[str, np.ndarray]]] = {}

    def __enter__(self) -> MemoryStore:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        return None

    @property
    def plan(self) -> RunPlan:
        """The plan of the one run that it is for."""
        return self._plan

    def missing(self) -> frozenset[int]:
        """Numbers of the segments that have not come yet."""
        return frozenset(self._missing)

    def describe(self) -> str:
        """Nothing is kept."""
        return ""

    def write(self, result: SegmentResult) -> None:
        """Copy the rows of a segment to their place."""
        segment = result.segment
        for name, arrays in result.results.items():
            for site in self._plan.sites:
                if site.name in arrays:
                    piece, held = arrays[site.name], self._results[name]
                    axis, span = site.cut_axis, site.span(segment.number, segment.rows)
                    assert span is not None
                    whole = site.full_shape(self._plan.num_obs)
                    if axis is None or span == (0, whole[axis]):
                        held[site.name] = piece
                        continue
                    if site.name not in held:
                        shape = list(piece.shape)
                        shape[axis] = whole[axis]
                        held[site.name] = np.empty(shape, piece.dtype)
                    held[site.name][site.within(piece.ndim, span)] = piece
        self._nonfinite[segment.number] = result.nonfinite
        self._partials[segment.number] = result.partials
        self._missing.discard(segment.number)

    def partials(self, reduction: str) -> Iterator[Mapping[str, np.ndarray]]:
        """The partial results of one reduction, in the order of segments."""
        for number in sorted(self._partials):
            if reduction in self._partials[number]:
                yield self._partials[number][reduction]

    def finish(self, record: Callable[[], Mapping[str, Any]]) -> Finished:
        """The arrays, sites in the model's order."""
        nonfinite: dict[str, int] = {}
        for tally in self._nonfinite.values():
            for name, count in tally.items():
                nonfinite[name] = nonfinite.get(name, 0) + count
        results = {
            name: {site.name: arrays[site.name] for site in self._plan.sites}
            for name, arrays in self._results.items()
        }
        return Finished(results, nonfinite, record(), self.partials)
