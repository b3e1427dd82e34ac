"""Totals over groups once every segment is there: their draws, summarised as any site's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pyro_posterior.contracts import Partials, Reduction, Results, RunPlan, Site
from pyro_posterior.reductions.grouped import Grouped, finish_totals
from pyro_posterior.reductions.plan import SummaryPlan

DRAWS = "posterior_samples"


@dataclass(frozen=True)
class WithTotals:
    """Results and plan with the totals as global sites, and the names of their groups."""

    results: Results
    plan: RunPlan
    coords: dict[str, np.ndarray]


def described(reductions: Iterable[Reduction]) -> dict[str, dict[str, Any]]:
    """What is kept with a run of its totals, in plain values."""
    return {
        one.name: {
            "site": one.site,
            "labels": list(one.labels),
            "sizes": one.sizes if one.how == "mean" else None,
        }
        for one in reductions
        if isinstance(one, Grouped)
    }


def with_totals(
    results: Results,
    plan: RunPlan,
    partials: Partials | None,
    totals: Mapping[str, Mapping[str, Any]],
    summaries: SummaryPlan,
) -> WithTotals:
    """Add the totals over groups to what a store gave; their draws are always kept."""
    if not totals or partials is None:
        return WithTotals(results, plan, {})
    results = {name: dict(arrays) for name, arrays in results.items()}
    coords: dict[str, np.ndarray] = {}
    sites = list(plan.sites)
    known = {site.name: site for site in plan.sites}
    for name, about in totals.items():
        draws = finish_totals(partials(name), about["sizes"])
        dim, source = f"{name}_group", known.get(about["site"])
        dims: list[str | None] = [None] * (draws.ndim - 1)
        if source is not None and source.dims and source.batch_axis is not None:
            dims[1:] = source.dims
            del dims[len(dims) + source.batch_axis]
        dims[0] = dim
        shape = tuple(draws.shape[1:])
        sites.append(Site(name, "derived", "global", shape, torch.float64, dims=tuple(dims)))
        coords[dim] = np.array(about["labels"])
        for key, value in summaries.compute(torch.from_numpy(draws)).values.items():
            if key in plan.summaries:
                results.setdefault(key, {})[name] = value
        results.setdefault(DRAWS, {})[name] = draws
    return WithTotals(results, replace(plan, sites=tuple(sites)), coords)
