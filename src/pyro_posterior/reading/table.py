"""Every site's scope, batch axis and dims: by plates first, by a run of another size second."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyro_posterior.contracts import Site
from pyro_posterior.reading.rows import Twin
from pyro_posterior.reading.runs import Run, SeenSite


@dataclass(frozen=True)
class SiteReader:
    """Reads one site of one run."""

    plate: str | None  # whose rows are the observations
    row_plates: frozenset[str]  # all plates with these rows
    size: int  # observations in the run
    twin: Twin | None
    from_rows: Mapping[str, bool]  # whether row data or local draws enter a site; True: not known

    def read(self, site: SeenSite, other: SeenSite | None) -> tuple[Site, str]:
        """The site, and why its batch axis cannot be told ("" where it can).

        ``other`` is the same site in the twin, None where it lacks the site or there is no twin.
        """
        axis, problem = self._axis(site, other)
        found = Site(site.name, site.kind, "global", site.shape, site.dtype, dims=self._dims(site))
        if axis is None:
            return found, problem
        rows = site.shape[axis] // self.size if self.size else 1
        at = len(site.shape) + axis
        dims = tuple(
            self.plate or "obs"
            if i == at and rows == 1
            else (name if name not in self.row_plates else None)
            for i, name in enumerate(found.dims)
        )
        local = replace(found, scope="local", batch_axis=axis, rows_per_obs=rows, dims=dims)
        return local, problem

    def _axis(self, site: SeenSite, other: SeenSite | None) -> tuple[int | None, str]:
        inside = [f for f in site.frames if f.name in self.row_plates and f.dim is not None]
        if inside and site.event_told:
            axes = site.axes_of(inside[-1])
            if axes:
                return axes[0], ""
        if other is not None:
            return self._grown(site, other)
        equal = [i - len(site.shape) for i, n in enumerate(site.shape) if n == self.size]
        if not equal or (not inside and not self.from_rows.get(site.name, True)):
            return None, ""
        if inside and len(equal) == 1:
            return equal[0], ""
        return equal[0], (
            f"site {site.name!r} has shape {site.shape} in a minibatch of {self.size} "
            "observations, and which axis are those cannot be told: draw it inside the plate, give "
            "its event_dim in the model (pyro.deterministic takes event_dim=), or leave it out "
            "with exclude_sites"
        )

    def _grown(self, site: SeenSite, other: SeenSite) -> tuple[int | None, str]:
        """The axis whose length follows the number of observations."""
        assert self.twin is not None
        one, two = site.shape, other.shape
        words = (
            f"site {site.name!r} has shape {one} for {self.size} observations and {two} for "
            f"{self.twin.size}: its batch axis cannot be told, so minibatches cannot be laid "
            "behind each other; leave it out with exclude_sites"
        )
        if len(one) != len(two):
            return -1 if one else None, words
        grown = [i - len(one) for i in range(len(one)) if one[i] != two[i]]
        if not grown:
            return None, ""
        axis = grown[0]
        linear = one[axis] * self.twin.size == two[axis] * self.size
        return axis, "" if len(grown) == 1 and linear and not one[axis] % self.size else words

    def _dims(self, site: SeenSite) -> tuple[str | None, ...]:
        dims: list[str | None] = [None] * len(site.shape)
        for frame in site.frames:
            if frame.dim is None:
                continue
            axes = site.axes_of(frame)
            if axes and dims[axes[0]] is None:
                dims[axes[0]] = frame.name
        return tuple(dims)

    def needs_doubt_settled(self, run: Run) -> bool:
        """Whether some site's axis rests on the twin, so that what was resized for it matters."""
        if self.twin is None or not self.twin.doubtful:
            return False
        pairs = ((run.sites, self.twin.run.sites), (run.guide_sites, self.twin.run.guide_sites))
        for sites, others in pairs:
            for name, site in sites.items():
                inside = {f.name for f in site.frames} & self.row_plates
                settled = bool(inside) and site.event_told
                if not settled and name in others and others[name].shape != site.shape:
                    return True
        return False


def named_by_row(run: Run, size: int, twin: Twin | None) -> dict[str, str]:
    """Sites of which there is one for each row of the minibatch, named by the row's position.

    Such a site is another row in each minibatch, though nothing of its shape shows it.
    """
    if twin is None or twin.size == size:
        return {}
    one, other = _by_pattern(run), _by_pattern(twin.run)
    found = {}
    for pattern, names in one.items():
        others = other.get(pattern, set())
        nested = names <= others or others <= names
        if nested and len(names) == size and len(others) == twin.size:
            for name in names:
                found[name] = (
                    f"site {name!r} is one of {size} in a minibatch of {size} observations and of "
                    f"{twin.size} in one of {twin.size}, so it is another row in each minibatch: "
                    "draw the rows as one site inside pyro.plate, or pass all data in one call "
                    "(no batch_size)"
                )
    return found


def _by_pattern(run: Run) -> dict[str, set[str]]:
    """Names of sites, by what is left without their numbers."""
    found: dict[str, set[str]] = {}
    for name in run.sites:
        if any(letter.isdigit() for letter in name):
            found.setdefault(re.sub(r"\d+", "#", name), set()).add(name)
    return found


def differs_from(
    site: Site, seen: SeenSite, size: int, first_size: int, where: tuple[int, int]
) -> str:
    """Why a site of one run cannot be laid behind the same site of the first ("" where it can)."""
    expected = list(site.shape)
    if site.batch_axis is not None:
        expected[site.batch_axis] = site.rows(size)
    if tuple(expected) == seen.shape:
        return ""
    minibatches = (
        f"in minibatch {where[0]} of {first_size} observations and {seen.shape} in minibatch "
        f"{where[1]} of {size}"
    )
    return (
        f"site {site.name!r} has shape {site.shape} {minibatches}, so they cannot be laid behind "
        "each other: bring them to one shape (pad sequences to one length in to_args), or leave "
        "the site out with exclude_sites"
    )
