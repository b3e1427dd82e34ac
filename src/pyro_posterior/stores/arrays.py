"""Which arrays a store has: their folders, shapes, chunks and names of axes, as its header says."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.contracts import Site
from pyro_posterior.errors import StoreError
from pyro_posterior.labels import site_dims
from pyro_posterior.stores.files import damaged
from pyro_posterior.stores.form import Form, kept_dtype, kind_in
from pyro_posterior.stores.header import Header
from pyro_posterior.stores.layout import array_names, chunk_shape

#: The one result whose arrays stay on disk.
DRAWS = "posterior_samples"


@dataclass(frozen=True)
class Arrays:
    """The arrays of results of one store."""

    header: Header

    @functools.cached_property
    def folders(self) -> Mapping[str, str]:
        """Folder of every site within a result."""
        return array_names(site.name for site in self.header.plan.sites)

    @functools.cached_property
    def dims(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the axes of one draw of every site."""
        return site_dims(self.header.plan)

    def axis(self, site: Site, ndim: int) -> int | None:
        """The axis that segments divide in an array of ``ndim`` axes; None where none does."""
        return None if site.cut_axis is None else ndim + site.cut_axis

    def form(self, result: str, site: Site, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Form:
        """The form of a result of a site, of which a piece has this shape and dtype.

        Raises
        ------
        StoreError
            A summary function takes the axis of the observations away, or draws are not as the
            plan says.
        """
        plan, full = self.header.plan, list(shape)
        axis, rows = self.axis(site, len(shape)), None
        if axis is not None and site.batch_axis is None:
            full[axis], rows = max(site.shape), site.columns
        elif axis is not None:
            if axis < 0:
                raise StoreError(
                    f"{result} of site {site.name!r} has shape {shape}, in which there is no axis of "
                    "the observations: a summary function must keep all axes but the first"
                )
            full[axis] = site.rows(plan.num_obs)
            rows = site.rows(self.header.segment_rows)
        if result == DRAWS:
            wanted = (plan.num_samples, *site.full_shape(plan.num_obs))
            if tuple(full) != wanted:
                raise StoreError(
                    f"draws of site {site.name!r} have shape {tuple(full)}, but {wanted} by the plan "
                    "of the run"
                )
        dims = self.dims[site.name]
        ahead = len(full) - len(dims)
        first = "draw" if result == DRAWS else f"{self.folders[site.name]}_{result}"
        more = [f"{first}_{place}" for place in range(1, ahead)]
        named = (*([first] if ahead > 0 else []), *more, *dims)[max(0, -ahead) :]
        return Form(
            shape=tuple(full),
            dtype=kept_dtype(dtype, f"{result} of site {site.name!r}"),
            chunks=chunk_shape(tuple(full), dtype.itemsize, axis, rows or 0, result == DRAWS),
            dims=named,
            attributes={"site": site.name},
        )

    def stored_form(self, root: Path, result: str, site: Site, content: bytes) -> Form:
        """The form of an array that is on disk, by the content of its metadata file.

        Raises
        ------
        StoreError
            It is damaged, or not what the header says of it.
        """
        where = f"{result} of site {site.name!r}"
        try:
            wanted = self.form(result, site, *kind_in(content, root, where))
        except StoreError as error:
            raise damaged(root, str(error)) from error
        if content != wanted.metadata:
            raise damaged(root, f"{where} is laid out in another way than the header says")
        return wanted
