"""The result: a dict with the documented keys that also knows its sites, seed and settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.contracts import Results, RunPlan, Site


class Posterior(dict[str, dict[str, np.ndarray]]):
    """Summaries and draws of a posterior.

    A plain dict of ``{"post_sample_means": {site: array}, ...}``, arrays shaped as one draw of the
    site (``posterior_samples``: ``(draw, *site shape)``), with these attributes:

    Attributes
    ----------
    plan
        Sites, sizes, seed and settings of the run.
    nonfinite
        Number of NaN or infinite draws by site, sites without any left out.
    program
        What was run to make the draws, as text; ``print(posterior.program)``.
    info
        Seconds taken and versions of the packages used.
    coords
        Labels by dimension, such as ``{"obs": cell names}``, used by exports.
    unfinished
        What is still missing where this is the result of one share (``shard=``) of a run that
        others have not finished; there are no results then. Empty otherwise.
    """

    def __init__(
        self,
        results: Results,
        plan: RunPlan,
        *,
        nonfinite: Mapping[str, int] | None = None,
        program: str = "",
        info: Mapping[str, Any] | None = None,
        coords: Mapping[str, Any] | None = None,
        unfinished: str = "",
    ) -> None:
        super().__init__(results)
        self.plan = plan
        self.nonfinite = dict(nonfinite or {})
        self.program = program
        self.info = dict(info or {})
        self.coords = dict(coords or {})
        self.unfinished = unfinished

    @classmethod
    def open(cls, path: str | Path) -> Posterior:
        """The result that ``sample_posterior(store=path)`` wrote.

        Summaries are read into NumPy arrays; draws stay on disk as arrays that ``np.asarray``
        reads whole, and an index in part.

        Parameters
        ----------
        path
            Folder of a finished store.

        Raises
        ------
        StoreError
            There is no store, or it is unfinished, damaged or of a later format.
        MissingPackageError
            zarr is not installed.
        """
        from pyro_posterior.stores.reading import read_store

        stored = read_store(path)
        return cls(
            stored.results,
            stored.plan,
            nonfinite=stored.nonfinite,
            program=stored.program,
            info=stored.info,
            coords=stored.coords,
        )

    @property
    def sites(self) -> dict[str, Site]:
        """The returned sites by name."""
        return {site.name: site for site in self.plan.sites}

    @property
    def seed(self) -> int:
        """Seed that gives these numbers again."""
        return self.plan.seed

    def __repr__(self) -> str:
        plan = self.plan
        if self.unfinished:
            return f"Posterior without results yet: {self.unfinished}"
        head = (
            f"Posterior of {plan.num_obs} observations, {plan.num_samples} draws, "
            f"seed {plan.seed}, engine {plan.engine}"
        )
        lines = [
            f"  {site.name}  {site.kind}, {site.scope}  {_shape(self, site)}" for site in plan.sites
        ]
        return "\n".join([head, f"  results: {', '.join(self)}", *lines])


def _shape(posterior: Posterior, site: Site) -> str:
    shape = list(site.shape)
    if site.batch_axis is not None:
        shape[site.batch_axis] = site.rows(posterior.plan.num_obs)
    return str(tuple(shape))
