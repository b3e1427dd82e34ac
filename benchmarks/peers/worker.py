"""One measured call in a process of its own: ``python -m peers.worker TASK '{"option": ...}'``.

Prints one line of JSON: seconds, peak memory above what the process held before the call, notes.
Model, data and imports are ready before the clock starts, on every side.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from peers.measuring import Measured, measured

Report = tuple[Measured, dict[str, Any]]


def cell2location_ours(
    observations: int,
    genes: int,
    factors: int,
    batch_size: int,
    draws: int,
    sites: list[str] | None = None,
    engine: str = "auto",
    profile: bool = False,
) -> Report:
    """`PyroSampleMixin.sample_posterior` of pyro-posterior, with the default summaries."""
    from peers.cell2location_model import make_cell2location
    from pyro_posterior import PyroSampleMixin

    model = make_cell2location(observations, genes, factors, batch_size)
    notes: dict[str, Any] = {}

    def call() -> Any:
        posterior = PyroSampleMixin.sample_posterior(
            model,
            num_samples=draws,
            return_sites=sites,
            accelerator="cpu",
            batch_size=batch_size,
            show_progress=False,
            engine=engine,
            seed=0,
        )
        arrays = posterior["post_sample_means"].values()
        notes["values"] = sum(array.size for array in arrays)
        notes["result_mib"] = _mib(posterior)
        notes["tier"] = posterior.plan.engine
        return posterior

    return _measured(call, profile, notes), notes


def cell2location_scvi(
    observations: int, genes: int, factors: int, batch_size: int, draws: int
) -> Report:
    """`sample_posterior` of scvi-tools, as released."""
    from peers.cell2location_model import make_cell2location

    model = make_cell2location(observations, genes, factors, batch_size)

    def call() -> Any:
        return model.sample_posterior(
            num_samples=draws, accelerator="cpu", batch_size=batch_size, show_progress=False
        )

    return measured(call), {}


def floor(observations: int, genes: int, factors: int, batch_size: int, draws: int) -> Report:
    """`torch.randn` of as many values as are drawn, `np.sort` of as many as are summarised."""
    import numpy as np
    import torch

    from peers.cell2location_model import make_cell2location
    from pyro_posterior import PyroSampleMixin

    torch.set_num_threads(1)
    model = make_cell2location(observations, genes, factors, batch_size)
    posterior = PyroSampleMixin.sample_posterior(
        model,
        num_samples=1,
        accelerator="cpu",
        batch_size=batch_size,
        show_progress=False,
        engine="loop",
    )
    sizes = {name: array.size for name, array in posterior["post_sample_means"].items()}
    latent = [site.name for site in posterior.sites.values() if site.kind == "latent"]
    drawn, summarised = sum(sizes[name] for name in latent) * draws, sum(sizes.values())
    columns = np.random.default_rng(0).standard_normal((256, draws), "float32")
    piece = 1_000_000

    def call() -> None:
        for low in range(0, drawn, piece):
            torch.randn(min(piece, drawn - low))
        for low in range(0, summarised, len(columns)):
            np.sort(columns[: summarised - low])

    return measured(call), {"drawn": drawn, "summarised": summarised * draws}


def factor_ours(
    observations: int, genes: int, factors: int, batch_size: int, draws: int, profile: bool = False
) -> Report:
    """`sample_posterior` with its summaries cut out: draws are made, and all but one dropped."""
    from peers.factor_model_pyro import SITES, make_factor_model
    from pyro_posterior import drawing, sample_posterior

    drawing._Begun.take = _keep_last_draw  # type: ignore[method-assign]
    made = make_factor_model(observations, genes, factors)
    notes: dict[str, Any] = {}

    def call() -> Any:
        posterior = sample_posterior(
            made.model,
            made.guide,
            made.data,
            num_samples=draws,
            return_sites=SITES,
            accelerator="cpu",
            batch_size=batch_size,
            summary_fun={"last": max},
            show_progress=False,
            seed=0,
        )
        notes["values"] = sum(array.size for array in posterior["post_sample_last"].values())
        notes["tier"] = posterior.plan.engine
        return posterior

    return _measured(call, profile, notes), notes


def factor_predictive(
    observations: int,
    genes: int,
    factors: int,
    batch_size: int,
    draws: int,
    parallel: bool,
    at_once: int,
) -> Report:
    """`pyro.infer.Predictive`, minibatch by minibatch, ``at_once`` draws to a call."""
    import torch
    from pyro.infer import Predictive

    from peers.factor_model_pyro import SITES, make_factor_model

    made = make_factor_model(observations, genes, factors)
    counts, index = made.data

    def call() -> None:
        with torch.no_grad():
            for low in range(0, observations, batch_size):
                rows = slice(low, low + batch_size)
                for _ in range(0, draws, at_once):
                    Predictive(
                        made.model,
                        guide=made.guide,
                        num_samples=at_once,
                        return_sites=SITES,
                        parallel=parallel,
                    )(counts[rows], index[rows])

    return measured(call), {}


def factor_numpyro(
    observations: int,
    genes: int,
    factors: int,
    batch_size: int,
    draws: int,
    parallel: bool,
    random: str,
) -> Report:
    """`numpyro.infer.Predictive` under jit; compiled before the clock starts."""
    import time

    import jax
    from numpyro.infer import Predictive

    from peers.factor_model_numpyro import SITES, make_factor_model

    jax.config.update("jax_default_prng_impl", random)
    if random == "rbg":
        _let_numpyro_take_rbg_keys()
    made = make_factor_model(observations, genes, factors)

    def predict(key: Any, params: Any, counts: Any, index: Any) -> Any:
        return Predictive(
            made.model,
            guide=made.guide,
            params=params,
            num_samples=draws,
            return_sites=list(SITES),
            parallel=parallel,
        )(key, counts, index)

    compiled = jax.jit(predict)
    counts, index = (jax.device_put(array) for array in made.data)
    keys = jax.random.split(jax.random.PRNGKey(0), observations // batch_size)

    def on(number: int) -> Any:
        rows = slice(number * batch_size, (number + 1) * batch_size)
        return compiled(keys[number], made.params, counts[rows], index[rows])

    started = time.perf_counter()
    drawn = jax.block_until_ready(on(0))
    first = time.perf_counter() - started
    values = sum(array.size for array in drawn.values()) * len(keys) // draws
    del drawn

    def call() -> None:
        for number in range(len(keys)):
            jax.block_until_ready(on(number))

    cost = measured(call)
    compilation = max(first - cost.seconds / len(keys), 0.0)
    return cost, {"values": values, "compilation": compilation}


def _let_numpyro_take_rbg_keys() -> None:
    """NumPyro 0.22 takes raw keys of two words only (threefry's); those of rbg have four."""
    import numpyro.util

    known = numpyro.util.is_prng_key

    def takes(key: Any) -> bool:
        return known(key) or getattr(key, "shape", None) == (4,)

    for name, module in list(sys.modules.items()):
        if name.startswith("numpyro") and hasattr(module, "is_prng_key"):
            module.is_prng_key = takes  # type: ignore[attr-defined]


def _keep_last_draw(self: Any, job: Any, site: Any, draws: Any, first: int, behind: int) -> None:
    """In place of summaries and the count of values that are not finite, which no peer makes."""
    if site.batch_axis is not None:
        draws = draws[site.at(draws.ndim, first, behind)]
    last = draws[-1].numpy().copy()
    for name in job.plan.result_names:
        self._put(site, name, last, behind - first)


def _mib(posterior: Any) -> float:
    """Size of all arrays of a result."""
    arrays = [array for kind in posterior.values() for array in kind.values()]
    return sum(array.nbytes for array in arrays) / 2**20


def _measured(call: Callable[[], Any], profile: bool, notes: dict[str, Any]) -> Measured:
    if not profile:
        return measured(call)
    from peers.stages import staged

    with staged() as shares:
        cost = measured(call)
    notes["shares"] = shares()
    return cost


TASKS: dict[str, Callable[..., Report]] = {
    task.__name__: task
    for task in (
        cell2location_ours,
        cell2location_scvi,
        floor,
        factor_ours,
        factor_predictive,
        factor_numpyro,
    )
}


def main() -> None:
    """Run the task named on the command line."""
    cost, notes = TASKS[sys.argv[1]](**json.loads(sys.argv[2]))
    print(json.dumps({**vars(cost), "notes": notes}))


if __name__ == "__main__":
    main()
