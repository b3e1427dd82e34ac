"""How many independent draws a stratified one is worth: variances over seeds, model by model.

    python benchmarks/stratified.py [MODEL ...] [--seeds 20] [--draws 1000] [--sites NAME ...]

For each site: the variance over seeds of a summary of independent draws over that of stratified ones,
the median over the site's values; the CPU time of both, seeds alternating; and, with the model "pairs",
the correlations of all pairs of thousands of columns, and "fill", the time of a value.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal
from pyro.optim import Adam

from pyro_posterior import sample_posterior
from pyro_posterior.keyed.fills import NORMAL, UNIFORM, fill
from pyro_posterior.keyed.keys import Key, Where

CPU = torch.device("cpu")
SUMMARIES = ("means", "stds", "q05", "q95")
Sample = Callable[..., Any]


def main() -> None:
    """Print a table for each model asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=[*CHECKS, *MODELS], metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--sites", nargs="+", help="these alone, by default all")
    args = parser.parse_args()
    for name in args.models:
        if name in CHECKS:
            CHECKS[name]()
            continue
        print(f"\n{name}: {args.draws} draws, {args.seeds} seeds", flush=True)
        seeds = range(args.first, args.first + args.seeds)
        table(MODELS[name](), seeds, args.draws, args.sites)


def table(sample: Sample, seeds: range, draws: int, sites: list[str] | None) -> None:
    """Variances of independent draws over those of stratified ones, and the ratio of the times."""
    kinds = ("independent", "stratified")
    found: dict[str, list[Any]] = {kind: [] for kind in kinds}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in seeds:
        for kind in kinds:
            started = time.process_time()
            only = {} if sites is None else {"return_sites": sites}
            found[kind].append(sample(seed=seed, draws=kind, num_samples=draws, **only))
            seconds[kind].append(time.process_time() - started)
    print(f"{'site':32s} {'values':>7s} " + " ".join(f"{name:>9s}" for name in SUMMARIES))
    for site in found["stratified"][0].plan.sites:
        row = []
        for name in SUMMARIES:
            spread = {
                kind: np.array([x[f"post_sample_{name}"][site.name] for x in found[kind]], float)
                .reshape(len(seeds), -1)
                .var(0, ddof=1)
                for kind in kinds
            }
            varies = spread["independent"] > 0
            ratio = spread["independent"][varies] / np.maximum(spread["stratified"][varies], 1e-300)
            row.append(np.median(ratio) if varies.any() else np.nan)
        size = found["stratified"][0]["post_sample_means"][site.name].size
        print(f"{site.name:32s} {size:7d} " + " ".join(f"{x:9.3g}" for x in row), flush=True)
    ratios = [b / a for a, b in zip(seconds["independent"], seconds["stratified"], strict=True)]
    print(f"CPU time, stratified over independent: median {statistics.median(ratios[1:]):.2f}")


# --------------------------------------------------------------------------------------------- models


def cell2location() -> Sample:
    """300 spots, 100 genes, 10 cell types, fitted for 300 epochs."""
    from pyro_posterior.scvi import allow_cell2location, use_in

    allow_cell2location()
    from cell2location.models import Cell2location

    import scvi
    from simulated_tissue import signatures, spots

    use_in(Cell2location)
    scvi.settings.seed = 0
    rng = np.random.default_rng(0)
    truth = signatures(100, 10, rng)
    tissue = spots(truth, 300, rng)
    Cell2location.setup_anndata(tissue, batch_key="batch")
    model = Cell2location(tissue, truth, N_cells_per_location=8, detection_alpha=20)
    model.train(max_epochs=300, enable_progress_bar=False, enable_model_summary=False)
    return lambda **options: model.sample_posterior(show_progress=False, **options)


def resolvi() -> Sample:
    """RESOLVI on 100 simulated cells with 60 genes, trained for 20 epochs."""
    from scvi.data import synthetic_iid
    from scvi.external import RESOLVI

    import scvi
    from pyro_posterior.scvi import keep_parameters
    from pyro_posterior.scvi import sample_posterior as sample

    scvi.settings.seed = 0
    cells = synthetic_iid(batch_size=50, n_genes=60, generate_coordinates=True)
    cells.obsm["X_spatial"] = cells.obsm["coordinates"]
    RESOLVI.setup_anndata(cells, labels_key="labels")
    model = RESOLVI(cells, semisupervised=True, n_hidden=16, n_hidden_encoder=16)
    model.train(max_epochs=20, enable_progress_bar=False, enable_model_summary=False)
    keep_parameters(model)
    return lambda **options: sample(model, show_progress=False, **options)


def demo() -> Sample:
    """The demo's model of real counts, on its first 128 cells."""
    from pyro_posterior.demo.counts import load_reference
    from pyro_posterior.demo.model import CountGuide, CountModel, fit

    model = CountModel(load_reference(0))
    guide = CountGuide(model)
    counts = torch.as_tensor(load_reference(0).counts, dtype=torch.float32)
    fit(model, guide, counts, steps=500, batch_size=128, seed=0)
    data = (counts[:128], torch.arange(128))
    return lambda **options: sample_posterior(model, guide, data, show_progress=False, **options)


def fitted(model: Callable[..., None], guide: Any, *data: torch.Tensor, steps: int = 500) -> Sample:
    """A model and guide fitted by ELBO."""
    pyro.set_rng_seed(0)
    svi = SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(steps):
        svi.step(*data)
    return lambda **options: sample_posterior(model, guide, data, show_progress=False, **options)


def regression(x: torch.Tensor, y: torch.Tensor) -> None:
    """A linear model with a noise scale."""
    w = pyro.sample("w", dist.Normal(torch.zeros(5), 1.0).to_event(1))
    sd = pyro.sample("sd", dist.LogNormal(torch.tensor(0.0), 1.0))
    pyro.deterministic("ratio", w[0] / sd)
    with pyro.plate("obs", len(y)):
        pyro.sample("y", dist.Normal(x @ w, sd), obs=y)


def _regression_data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=generator)
    return x, x @ torch.arange(5.0) + torch.randn(60, generator=generator)


def multivariate() -> Sample:
    """A regression under AutoMultivariateNormal."""
    return fitted(regression, AutoMultivariateNormal(regression), *_regression_data())


def flow() -> Sample:
    """The same under AutoIAFNormal."""
    return fitted(regression, AutoIAFNormal(regression, hidden_dim=[20]), *_regression_data())


def encoder() -> Sample:
    """A latent code per observation from a neural encoder, decoded to a mean."""
    torch.manual_seed(0)
    reads = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 6))
    writes = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))

    def model(y: torch.Tensor) -> None:
        pyro.module("decoder", writes)
        with pyro.plate("obs", len(y)):
            z = pyro.sample("z", dist.Normal(y.new_zeros(len(y), 3), 1.0).to_event(1))
            mean = pyro.deterministic("mean", writes(z), event_dim=1)
            pyro.sample("y", dist.Normal(mean, 0.5).to_event(1), obs=y)

    def guide(y: torch.Tensor) -> None:
        pyro.module("encoder", reads)
        with pyro.plate("obs", len(y)):
            loc, scale = reads(y).split(3, -1)
            pyro.sample("z", dist.Normal(loc, torch.exp(scale)).to_event(1))

    y = torch.randn(40, 8, generator=torch.Generator().manual_seed(1))
    return fitted(model, guide, y)


MODELS: dict[str, Callable[[], Sample]] = {
    "encoder": encoder,
    "multivariate": multivariate,
    "flow": flow,
    "demo": demo,
    "resolvi": resolvi,
    "cell2location": cell2location,
}


# --------------------------------------------------------------------------------------------- checks


def pairs() -> None:
    """All pairs of 4,000 columns with consecutive keys; independent columns give variance 1."""
    print("\npairs of 4,000 columns: variance (1) and largest (about 5.3) of scaled correlations")
    columns = 4000
    which = tuple(torch.triu_indices(columns, columns, 1))
    for length in (125, 250, 512, 1000, 1024):
        at = Where(1, range(length), 0, (length,))
        u = fill(UNIFORM, Key("z", 0, True), at, (columns,), torch.float32, CPU)
        x = (u * length).floor().clamp_(max=length - 1).double()
        middle = (x - (length - 1) / 2).abs()
        steps = (x - x.roll(1, 0)) % length
        row = []
        for one, two in ((x, x), (middle, middle), (x, middle), (steps, steps)):
            z, w = ((v - v.mean(0)) / (v - v.mean(0)).norm(dim=0) for v in (one, two))
            found = (z.T @ w)[which] * (length - 1) ** 0.5
            row.append(f"{found.var():.4f} {found.abs().max():.2f}")
        print(f"length {length:5d}: positions, distances, mixed, steps: " + "; ".join(row))


def fill_time() -> None:
    """Nanoseconds of the processor a value beside torch's ``normal_``, 128 draws of 4,000 columns, alternating."""
    out, generator = torch.empty(128, 4000), torch.Generator()
    key, shape = Key("z", 0, True), (4000,)
    ways: dict[str, Callable[[], Any]] = {
        "torch": lambda: out.normal_(generator=generator),
        "independent": lambda: fill(
            NORMAL, key, Where(1, range(128), 0), shape, torch.float32, CPU
        ),
        "stratified": lambda: fill(
            NORMAL, key, Where(1, range(128), 0, (1000,)), shape, torch.float32, CPU
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(60):
        for name, way in ways.items():
            started = time.thread_time()
            way()
            taken[name].append((time.thread_time() - started) / out.numel() * 1e9)
    best = {name: statistics.median(values) for name, values in taken.items()}
    print("\nfill, ns a value: " + ", ".join(f"{name} {value:.1f}" for name, value in best.items()))
    for name in ("independent", "stratified"):
        print(f"  {name} over torch's normal_: {best[name] / best['torch']:.2f}")


CHECKS: dict[str, Callable[[], None]] = {"fill": fill_time, "pairs": pairs}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
