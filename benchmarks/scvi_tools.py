"""pyro-posterior beside scvi-tools' own `sample_posterior`, on the same trained models.

    python benchmarks/scvi_tools.py [regression] [cell2location] [resolvi] [--quick] [--threads N]

For every model: the seconds of a call of each, where means and sds differ by more than Monte
Carlo error, and whether the returned draws are joint: a local deterministic site is computed again
from the returned draws of its parents.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import torch
from scvi.model.base import PyroSampleMixin as TheirMixin

import scvi
from pyro_posterior.kept import kept_parameters
from pyro_posterior.scvi import allow_cell2location, sample_posterior
from simulated_tissue import signatures, single_cells, spots

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
CALLS = 3  # of pyro-posterior; scvi-tools takes long and is called once
CHANCE = 1e-3  # of calling two right results different, over all values of a model

Draws = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A trained model, how it is sampled, and what a joint draw must satisfy."""

    model: Any
    options: dict[str, Any]
    joint: dict[str, Callable[[Draws], np.ndarray]]  # site: computed from its parents' draws
    wrong_there: tuple[str, ...] = ()  # sites that scvi-tools cannot give right


def regression(quick: bool) -> Case:
    """cell2location's RegressionModel: global sites alone."""
    from cell2location.models import RegressionModel

    rng = np.random.default_rng(0)
    cells = single_cells(signatures(200 if quick else 1000, 8, rng), 1000, rng)
    RegressionModel.setup_anndata(cells, batch_key="batch", labels_key="type")
    model = RegressionModel(cells)
    model.train(max_epochs=5, batch_size=250, **QUIET)
    return Case(model, {"num_samples": 200, "batch_size": 250}, {})


def cell2location(quick: bool) -> Case:
    """Cell2location: global and local sites, in minibatches."""
    from cell2location.models import Cell2location

    rng = np.random.default_rng(0)
    means = signatures(200 if quick else 1000, 8, rng)
    tissue = spots(means, 400 if quick else 2000, rng)
    Cell2location.setup_anndata(tissue, batch_key="batch")
    model = Cell2location(tissue, cell_state_df=means, N_cells_per_location=8, detection_alpha=20)
    model.train(max_epochs=20, batch_size=None, lr=0.02, **QUIET)
    state = model.module.model.cell_state.numpy()

    def mrna(draws: Draws) -> np.ndarray:
        return draws["w_sf"] * (state * draws["m_g"]).sum(-1)[:, None, :]

    options = {"num_samples": 40 if quick else 200, "batch_size": 100 if quick else 500}
    return Case(model, options, {"u_sf_mRNA_factors": mrna})


def resolvi(quick: bool) -> Case:
    """RESOLVI: networks in the guide, sites with two event axes."""
    from scvi.data import synthetic_iid
    from scvi.external import RESOLVI

    np.random.seed(0)
    cells = synthetic_iid(batch_size=30 if quick else 100, generate_coordinates=True)
    cells.obsm["X_spatial"] = cells.obsm["coordinates"]
    RESOLVI.setup_anndata(cells, labels_key="labels")
    model = RESOLVI(cells, semisupervised=True)
    model.train(max_epochs=2, **QUIET)
    library = np.asarray(cells.X.sum(1)).reshape(-1, 1)

    def per_neighbor(draws: Draws) -> np.ndarray:
        amount = draws["diffusion_mixture_proportion"][..., None, :]
        return draws["per_neighbor_diffusion"][..., None] * amount

    def background(draws: Draws) -> np.ndarray:
        return draws["background_mixture_proportion"] * library * draws["per_gene_background"]

    return Case(
        model,
        {"num_samples": 8 if quick else 30, "batch_size": 20 if quick else 50},
        {"diffusion_proportion_per_neighbor": per_neighbor, "background": background},
        ("diffusion_proportion_per_neighbor", "px_rate_n"),
    )


CASES = {"regression": regression, "cell2location": cell2location, "resolvi": resolvi}


def main() -> None:
    """Train, sample both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", nargs="*", choices=[[], *CASES])
    parser.add_argument("--quick", action="store_true", help="smaller data and fewer draws")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--engine", default="auto")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    allow_cell2location()
    scvi.settings.seed = 0
    for name in args.case or CASES:
        print(f"\n{name}", flush=True)
        compare(CASES[name](args.quick), args.engine)


def compare(case: Case, engine: str) -> None:
    """One call of each side, and what the two results say."""
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        ours = sample_posterior(
            case.model, return_samples=True, show_progress=False, engine=engine, **case.options
        )
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times)
    started = time.perf_counter()
    silent = io.StringIO()
    with kept_parameters(case.model.module), redirect_stdout(silent), redirect_stderr(silent):
        theirs = TheirMixin.sample_posterior(case.model, return_samples=True, **case.options)
    their_seconds = time.perf_counter() - started
    plan = ours.plan
    print(f"  {plan.num_obs} observations, {plan.num_samples} draws, batches {plan.batch_sizes[0]}")
    print(f"  scvi-tools      {their_seconds:8.2f} s")
    print(f"  pyro-posterior  {seconds:8.2f} s  (median of {CALLS}; {plan.engine})")
    print(f"  ratio           {their_seconds / seconds:8.1f}")
    _agreement(case, ours["posterior_samples"], theirs["posterior_samples"])
    for site, compute in case.joint.items():
        for who, draws in (
            ("scvi-tools", theirs["posterior_samples"]),
            ("pyro-posterior", ours["posterior_samples"]),
        ):
            print(f"  {site} from its parents, {who}: {_mismatch(site, compute, draws)}")


def _agreement(case: Case, ours: Draws, theirs: Draws) -> None:
    alike = {}
    for name, draws in theirs.items():
        if ours[name].shape == draws.shape:
            alike[name] = draws.astype(float)
        else:
            print(f"  {name}: scvi-tools gives {draws.shape[1:]}, right is {ours[name].shape[1:]}")
    worst = max(_distance(ours[name].astype(float), draws) for name, draws in alike.items())
    number = 2 * sum(draws[0].size for draws in alike.values())
    few = min(len(draws) for draws in alike.values())
    limit = scipy.stats.t.isf(CHANCE / (2 * number), 2 * (few - 1))
    verdict = "within Monte Carlo error" if worst < limit else "NOT within Monte Carlo error"
    print(
        f"  {number} means and sds: largest difference {worst:.1f} standard errors (by chance up to "
        f"{limit:.1f}), {verdict}"
    )


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of means and of sds in standard errors; both fixed values must agree."""
    found = 0.0
    tiny = 1e-5 * np.abs(ours).mean() + 1e-9
    for value, error in ((np.mean, _mean_error), (np.std, _sd_error)):
        difference = np.abs(value(ours, axis=0) - value(theirs, axis=0))
        spread = np.sqrt(error(ours) ** 2 + error(theirs) ** 2) + tiny
        found = max(found, float((difference / spread).max()))
    return found


def _mean_error(draws: np.ndarray) -> np.ndarray:
    return draws.std(0) / np.sqrt(len(draws))


def _sd_error(draws: np.ndarray) -> np.ndarray:
    centred = draws - draws.mean(0)
    variance = (centred**2).mean(0)
    fourth = np.maximum((centred**4).mean(0) - variance**2, 0)
    return np.sqrt(fourth / len(draws)) / np.maximum(2 * np.sqrt(variance), 1e-12)


def _mismatch(site: str, compute: Callable[[Draws], np.ndarray], draws: Draws) -> str:
    expected = compute(draws)
    if expected.shape != draws[site].shape:
        return f"FAILS: shape {draws[site].shape}, expected {expected.shape}"
    error = np.abs(draws[site] - expected).max() / np.abs(expected).max()
    return f"{'agrees' if error < 1e-5 else 'FAILS'}, largest relative difference {error:.1e}"


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
