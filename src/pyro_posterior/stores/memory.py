"""Results in memory: every array is allocated once, at its full size, when its first piece comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyro_posterior.contracts import Results, RunPlan


class MemoryStore:
    """Pieces are copied to their rows; nothing is concatenated."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._sites = {site.name: site for site in plan.sites}
        self._results: Results = {name: {} for name in plan.result_names}
        self.nonfinite: dict[str, int] = {}
        self._starts = np.concatenate([[0], np.cumsum(plan.batch_sizes)]).astype(int)

    @property
    def needs_globals(self) -> bool:
        """Always, where there are global sites."""
        return bool(self._plan.global_sites)

    def needs_minibatch(self, index: int) -> bool:
        """Always, where there are local sites."""
        return bool(self._plan.local_sites)

    def describe(self) -> str:
        """Nothing is kept."""
        return ""

    def write_globals(self, results: Results, nonfinite: Mapping[str, int]) -> None:
        """Keep the arrays of the global sites."""
        self._count(nonfinite)
        for name, arrays in results.items():
            self._results[name].update(arrays)

    def write_minibatch(self, index: int, results: Results, nonfinite: Mapping[str, int]) -> None:
        """Copy the rows of minibatch ``index`` to their place."""
        self._count(nonfinite)
        start, stop = self._starts[index], self._starts[index + 1]
        for name, arrays in results.items():
            for site_name, piece in arrays.items():
                site = self._sites[site_name]
                assert site.batch_axis is not None
                axis = piece.ndim + site.batch_axis
                held = self._results[name].get(site_name)
                if held is None:
                    shape = list(piece.shape)
                    shape[axis] = site.rows(self._plan.num_obs)
                    held = self._results[name][site_name] = np.empty(shape, piece.dtype)
                rows = slice(site.rows(start), site.rows(stop))
                held[(slice(None),) * axis + (rows,)] = piece

    def _count(self, nonfinite: Mapping[str, int]) -> None:
        for name, count in nonfinite.items():
            self.nonfinite[name] = self.nonfinite.get(name, 0) + count

    def finish(self, record: Mapping[str, Any]) -> Results:
        """The arrays, sites in the model's order."""
        return {
            name: {site.name: arrays[site.name] for site in self._plan.sites}
            for name, arrays in self._results.items()
        }
