"""As many draws as an error asks for: ``num_samples="auto", mcse=0.05``.

A first run of `FIRST` hypercubes tells how large the errors are. They shrink with the root of the number
of hypercubes, which tells how many more are needed, and the next run has those too: its draws begin
with the same ones, since a hypercube's random numbers depend on its place alone. Runs keep summaries and
no more, so that memory is that of a run of so many draws.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pyro_posterior.contracts import RunPlan
from pyro_posterior.job import seed_of
from pyro_posterior.posterior import Posterior
from pyro_posterior.reductions.mcse import LENGTH, SUFFIX
from pyro_posterior.reductions.plan import PREFIX
from pyro_posterior.request import FEWEST, Request
from pyro_posterior.stores.earlier import earlier_run
from pyro_posterior.warn import warn

#: Share of a site's values that may have a larger error.
OUTLIERS = 0.01

logger = logging.getLogger(__name__)


def until_precise(request: Request, run: Callable[..., Posterior]) -> Posterior:
    """Run with more and more hypercubes, until errors are small enough or a limit is reached.

    Parameters
    ----------
    request
        With ``num_samples="auto"``.
    run
        The pipeline, ``run(request, about)``, where ``about`` goes into `Posterior.info`.
    """
    seed = seed_of(request, None if request.overwrite else earlier_run(request.store))
    trial = replace(request, seed=seed, store=None, overwrite=False, summary_fun=None)
    most = request.max_samples - request.max_samples % LENGTH
    count = FEWEST * LENGTH
    while True:
        posterior = run(replace(trial, num_samples=count))
        found = largest_error(posterior, request.mcse)
        logger.info("%d draws: %s", count, found)
        if found["error"] <= request.mcse or count >= most:
            break
        count = min(most, LENGTH * _parts_needed(posterior.plan, found["error"] / request.mcse))
    if found["error"] > request.mcse:
        warn(
            f"after {count:,} draws, the limit that max_samples={request.max_samples:,} sets, the "
            f"error of {found['result']!r} of {found['site']!r} is {found['error']:.3g} posterior "
            f"sds, more than mcse={request.mcse:g}: allow more draws, or a larger error"
        )
    if trial.store is request.store and request.summary_fun is None:
        posterior.info["precision"] = found
        return posterior
    return run(replace(request, seed=seed, num_samples=count), {"precision": found})


def largest_error(posterior: Posterior, asked: float) -> dict[str, Any]:
    """The largest error of means and quantiles in units of the posterior's sd, and where it is.

    Of each site and result, the share `OUTLIERS` of the values with the largest errors is left out,
    and values that do not vary or are not finite.
    """
    found: dict[str, Any] = {"asked": asked, "error": 0.0, "site": "", "result": ""}
    rough = _rough(posterior.plan, posterior.plan.replicates)
    above = values = 0
    for result in ("means", "q05", "q95"):
        for site, errors in posterior[f"{PREFIX}{result}{SUFFIX}"].items():
            units = _in_sds(errors, posterior.stds[site]) * rough
            if not len(units):
                continue
            above += int((units > asked).sum())
            values += len(units)
            error = float(np.sort(units)[len(units) - 1 - int(OUTLIERS * len(units))])
            if error > found["error"]:
                found |= {"error": error, "site": site, "result": result}
    return {**found, "left_out": OUTLIERS, "share_above": above / values if values else 0.0}


def _rough(plan: RunPlan, parts: int) -> float:
    """Errors from few parts count as larger: Student's t over the normal, to a few per cent."""
    return 1 + 2 / (parts - 1) if plan.draws == "stratified" else 1.0


def _parts_needed(plan: RunPlan, ratio: float) -> int:
    """Parts whose errors are small enough, with 5 % to spare, where they are ``ratio`` too large."""
    ratio *= 1.05 * plan.replicates**0.5 / _rough(plan, plan.replicates)
    parts = max(plan.replicates + 1, math.ceil(ratio**2))
    while ratio * _rough(plan, parts) > parts**0.5:
        parts += 1
    return parts


def _in_sds(errors: Any, sds: Any) -> np.ndarray:
    errors, sds = (np.asarray(x, np.float64).ravel() for x in (errors, sds))
    with np.errstate(all="ignore"):
        units = errors / sds
    return np.asarray(units[(sds > 0) & np.isfinite(units)])
