"""``grouped=``: which totals over groups of observations are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.grouped import Grouped, numbered
from pyro_posterior.request import Request


def grouped_reductions(
    request: Request, sites: Mapping[str, Site], num_obs: int
) -> Iterator[Grouped]:
    """A reduction for each entry.

    Raises
    ------
    RequestError
        An entry names a site that is not there or has no rows, or labels that do not fit.
    """
    for name, entry in (request.grouped or {}).items():
        site_name, labels, how = _entry(name, entry)
        site = sites.get(site_name)
        if site is None or site.kind == "density":
            raise RequestError(
                f"grouped[{name!r}] is of {site_name!r}, which is no site. There are: "
                f"{', '.join(map(repr, (s.name for s in sites.values() if s.kind != 'density')))}"
            )
        if site.batch_axis is None or site.rows_per_obs != 1:
            raise RequestError(
                f"grouped[{name!r}]: site {site_name!r} of shape {site.shape} has no row per "
                "observation to group"
            )
        if name in sites:
            raise RequestError(f"grouped[{name!r}]: there is a site of that name; give another")
        if getattr(labels, "ndim", 1) != 1:
            raise RequestError(
                f"grouped[{name!r}] has labels of shape {tuple(labels.shape)}: give one for each "
                "observation"
            )
        names, codes = numbered(labels)
        if len(codes) != num_obs:
            raise RequestError(
                f"grouped[{name!r}] has {len(codes)} labels for {num_obs} observations: give one "
                "for each, in the order of the data"
            )
        if not names:
            raise RequestError(f"grouped[{name!r}]: no observation has a label")
        yield Grouped(name, site_name, names, codes, how)


def _entry(name: str, entry: Any) -> tuple[str, Any, Any]:
    if not isinstance(entry, tuple | list) or len(entry) not in (2, 3):
        raise RequestError(
            f"grouped[{name!r}] must be (site, labels, 'mean' or 'sum'), found {entry!r}"
        )
    site, labels, how = (*entry, "mean")[:3]
    if how not in ("mean", "sum"):
        raise RequestError(f"grouped[{name!r}]: {how!r} is not 'mean' or 'sum'")
    if isinstance(labels, str):
        raise RequestError(
            f"grouped[{name!r}]: {labels!r} names a column, which only a model with an AnnData "
            "has; give the labels themselves, one per observation"
        )
    return site, labels, how
