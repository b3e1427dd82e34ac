"""Posteriors with known numbers, made without sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.posterior import Posterior

QUANTILES = {"q05": 0.05, "q95": 0.95}


def made(
    draws: Mapping[str, np.ndarray],
    *,
    local: tuple[str, ...] = (),
    keep: bool = False,
    num_obs: int = 1,
    **attributes: Any,
) -> Posterior:
    """A posterior whose summaries are NumPy's of ``draws``, which are ``(draw, *site shape)``."""
    sites = tuple(_site(name, array, name in local, num_obs) for name, array in draws.items())
    results = {
        "post_sample_means": {name: x.mean(0) for name, x in draws.items()},
        "post_sample_stds": {name: x.std(0) for name, x in draws.items()},
        "post_sample_q05": {name: np.quantile(x, 0.05, axis=0) for name, x in draws.items()},
        "post_sample_q95": {name: np.quantile(x, 0.95, axis=0) for name, x in draws.items()},
    }
    summaries = tuple(results)
    if keep:
        results["posterior_samples"] = dict(draws)
    plan = RunPlan(
        sites=sites,
        obs_plate="cells" if local else None,
        num_samples=len(next(iter(draws.values()))),
        seed=11,
        batch_sizes=(num_obs,),
        summaries=summaries,
        return_samples=keep,
        engine="loop",
    )
    info = {"seconds": 75.0, "versions": {"torch": "0"}}
    return Posterior(results, plan, **{"info": info, "program": "draw <b>z</b>", **attributes})


def _site(name: str, draws: np.ndarray, local: bool, num_obs: int) -> Site:
    shape = draws.shape[1:]
    axis = shape.index(num_obs) - len(shape) if local else None
    dims = tuple("cells" if local and i - len(shape) == axis else None for i in range(len(shape)))
    return Site(
        name=name,
        kind="latent",
        scope="local" if local else "global",
        shape=shape,
        dtype=torch.float32,
        batch_axis=axis,
        dims=dims,
    )
