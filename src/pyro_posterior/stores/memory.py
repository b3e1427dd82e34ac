"""Results in memory: every array is allocated once, at its full size, when its first piece comes."""

from __future__ import annotations

import numpy as np

from pyro_posterior.contracts import Results, RunPlan


class MemoryStore:
    """Pieces are copied to their rows; nothing is concatenated."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._sites = {site.name: site for site in plan.sites}
        self._results: Results = {name: {} for name in plan.result_names}
        self._starts = np.concatenate([[0], np.cumsum(plan.batch_sizes)]).astype(int)

    def write_globals(self, results: Results) -> None:
        """Keep the arrays of the global sites."""
        for name, arrays in results.items():
            self._results[name].update(arrays)

    def write_minibatch(self, index: int, results: Results) -> None:
        """Copy the rows of minibatch ``index`` to their place."""
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

    def finish(self) -> Results:
        """The arrays, sites in the model's order."""
        return {
            name: {site.name: arrays[site.name] for site in self._plan.sites}
            for name, arrays in self._results.items()
        }
