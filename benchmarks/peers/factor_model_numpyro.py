"""The factor model of `factor_model_pyro` in NumPyro: the same sites, plates and guide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

SITES = ("depth", "activity", "molecules")


@dataclass(frozen=True)
class FactorModel:
    """Model, guide, their parameters and full data ``(counts, index)``."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    params: dict[str, jax.Array]
    data: tuple[np.ndarray, np.ndarray]


def make_factor_model(observations: int, genes: int, factors: int) -> FactorModel:
    """Model and guide with random variational parameters."""
    rng = np.random.default_rng(0)

    def start(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype("float32")

    starts = {
        "rate": start(factors, 1),
        "loadings": start(factors, genes) - 1.0,
        "depth": start(observations, 1),
        "activity": start(observations, factors) - 1.0,
    }
    params = {f"{name}_loc": jnp.asarray(value) for name, value in starts.items()}
    for name, value in starts.items():
        params[f"{name}_log_scale"] = jnp.full(value.shape, -2.0, "float32")

    def model(counts: jax.Array, index: jax.Array) -> None:
        with numpyro.plate("factors", factors, dim=-2):
            rate = numpyro.sample("rate", dist.Gamma(2.0, 2.0))
            with numpyro.plate("genes", genes, dim=-1):
                loadings = numpyro.sample("loadings", dist.Gamma(0.5, rate))
        with numpyro.plate("observations", len(index), dim=-2):
            depth = numpyro.sample("depth", dist.Gamma(10.0, 10.0))
            with numpyro.plate("factors of observations", factors, dim=-1):
                activity = numpyro.sample("activity", dist.Gamma(0.5, 0.5))
            total = loadings.sum(-1, keepdims=True).swapaxes(-1, -2)
            numpyro.deterministic("molecules", activity * total)
            with numpyro.plate("genes of observations", genes, dim=-1):
                rates = depth * (activity @ loadings)
                numpyro.sample("counts", dist.Poisson(rates), obs=counts)

    def lognormal(name: str, index: jax.Array | None = None) -> dist.LogNormal:
        loc = numpyro.param(f"{name}_loc", params[f"{name}_loc"])
        log_scale = numpyro.param(f"{name}_log_scale", params[f"{name}_log_scale"])
        if index is not None:
            loc, log_scale = loc[index], log_scale[index]
        return dist.LogNormal(loc, jnp.exp(log_scale))

    def guide(counts: jax.Array, index: jax.Array) -> None:
        with numpyro.plate("factors", factors, dim=-2):
            numpyro.sample("rate", lognormal("rate"))
            with numpyro.plate("genes", genes, dim=-1):
                numpyro.sample("loadings", lognormal("loadings"))
        with numpyro.plate("observations", len(index), dim=-2):
            numpyro.sample("depth", lognormal("depth", index))
            with numpyro.plate("factors of observations", factors, dim=-1):
                numpyro.sample("activity", lognormal("activity", index))

    counts = rng.poisson(2.0, (observations, genes)).astype("float32")
    return FactorModel(model, guide, params, (counts, np.arange(observations)))
