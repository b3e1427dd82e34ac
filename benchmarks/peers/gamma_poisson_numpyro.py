"""NumPyro's side of ``benchmarks/answers.py``: processor seconds are printed for each line read.

Run in an environment with numpyro: ``python gamma_poisson_numpyro.py OBSERVATIONS COLUMNS DRAWS``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import Predictive, log_likelihood

OBSERVATIONS, COLUMNS, DRAWS = (int(word) for word in sys.argv[1:4])


def model(y: jax.Array | None = None) -> None:
    columns = numpyro.plate("columns", COLUMNS, dim=-1)
    with columns:
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("obs", OBSERVATIONS, dim=-2):
        size = numpyro.sample("size", dist.Gamma(10.0, 10.0))
        with columns:
            numpyro.sample("y", dist.Poisson(size * rate), obs=y)


def guide(y: jax.Array | None = None) -> None:
    with numpyro.plate("columns", COLUMNS, dim=-1):
        numpyro.sample("rate", dist.Gamma(50 * jnp.ones(COLUMNS), 25.0))
    with numpyro.plate("obs", OBSERVATIONS, dim=-2):
        numpyro.sample("size", dist.Gamma(50 * jnp.ones((OBSERVATIONS, 1)), 50.0))


def ways() -> dict[str, Callable[[jax.Array], jax.Array]]:
    """Jitted calls by name: of a random key."""
    y = jnp.asarray(np.random.default_rng(0).poisson(2.0, (OBSERVATIONS, COLUMNS)), "float32")
    latent = Predictive(guide, num_samples=DRAWS)(jax.random.PRNGKey(0))
    found = {}
    for parallel in (False, True):
        predict = Predictive(
            model, guide=guide, params={}, num_samples=DRAWS, return_sites=["y"], parallel=parallel
        )
        found[f"predictive {parallel}"] = jax.jit(lambda key, p=predict: p(key)["y"])
        found[f"likelihood {parallel}"] = jax.jit(
            lambda key, p=parallel: log_likelihood(model, latent, y, parallel=p)["y"].sum(-1)
        )
    return found


if __name__ == "__main__":
    found = ways()
    for number, line in enumerate(sys.stdin):
        call = found[line.strip()]
        if not number:
            call(jax.random.PRNGKey(0)).block_until_ready()  # compiled before the clock starts
        start = time.process_time()
        call(jax.random.PRNGKey(number)).block_until_ready()
        print(time.process_time() - start, flush=True)
