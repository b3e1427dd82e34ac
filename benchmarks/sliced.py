"""Large bodies and many small operations: RESOLVI's residuals beside scvi-tools, and peak memory.

    OMP_NUM_THREADS=1 python benchmarks/sliced.py residuals [--cells 2000] [--genes 200] [--draws 100]
    OMP_NUM_THREADS=1 python benchmarks/sliced.py memory [--draws 10] [--batch-size 2000]

``residuals`` needs scvi-tools; sides take turns, CPU seconds and those of the clock are printed.
``memory`` asks for a site of (observations, genes) with all default summaries.
"""

from __future__ import annotations

import argparse
import io
import resource
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from pyro_posterior import sample_posterior

OBSERVATIONS, GENES = 2000, 12000
MEGABYTE = 1 << 20


def residuals(args: argparse.Namespace) -> None:
    """Ours, theirs, and ours twice more."""
    import anndata
    from scvi.external import RESOLVI
    from scvi.model.base import PyroSampleMixin

    import scvi
    from pyro_posterior.kept import kept_parameters
    from pyro_posterior.scvi import sample_posterior as ours

    rng, scvi.settings.seed = np.random.default_rng(0), 0
    cells = anndata.AnnData(rng.poisson(2.0, (args.cells, args.genes)).astype("float32"))
    cells.obs["labels"] = [f"type {i}" for i in rng.integers(0, 3, args.cells)]
    cells.obsm["X_spatial"] = rng.uniform(0, 10, (args.cells, 2))
    silent = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        RESOLVI.setup_anndata(cells, labels_key="labels")
        model = RESOLVI(cells, semisupervised=True)
        model.train(max_epochs=1, **silent)
    options: dict[str, Any] = {
        "num_samples": args.draws,
        "batch_size": args.batch_size,
        "model": model.module.model_residuals,
    }

    def theirs() -> None:
        with kept_parameters(model.module), redirect_stdout(io.StringIO()):
            PyroSampleMixin.sample_posterior(model, **options)

    def own() -> None:
        ours(model, show_progress=False, accelerator="cpu", seed=1, **options)

    for name, call in (("ours", own), ("scvi-tools", theirs), ("ours", own), ("ours", own)):
        print(name, *_timed(call), flush=True)


def _timed(call: Callable[[], None]) -> tuple[str, str]:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    used = time.process_time() - processor
    return f"{used:.2f} CPU seconds", f"{time.perf_counter() - clock:.2f} by the clock"


def memory(args: argparse.Namespace) -> None:
    """Peak above the start."""

    def model(x: torch.Tensor, index: torch.Tensor) -> None:
        gene = pyro.sample("gene", dist.LogNormal(torch.zeros(GENES), 0.1).to_event(1))
        with pyro.plate("obs", OBSERVATIONS, subsample=index):
            depth = pyro.sample("depth", dist.LogNormal(torch.zeros(len(x)), 0.1))
            pyro.deterministic("rates", depth[:, None] * gene + x, event_dim=1)

    guide = poutine.block(model, hide=["rates"])

    def peak() -> int:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    before, started = peak(), time.perf_counter()
    found = sample_posterior(
        model,
        guide,
        (torch.rand(OBSERVATIONS, 1), torch.arange(OBSERVATIONS)),
        num_samples=args.draws,
        batch_size=args.batch_size,
        return_sites=["rates"],
        accelerator="cpu",
        show_progress=False,
    )
    result = sum(x.nbytes for arrays in found.values() for x in arrays.values())
    print(
        f"{args.draws} draws, minibatches of {args.batch_size}: peak {(peak() - before) / MEGABYTE:.0f} "
        f"MiB above the start, of which the result {result / MEGABYTE:.0f}; "
        f"{time.perf_counter() - started:.0f} s ({found.plan.engine})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["residuals", "memory"])
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=200)
    parser.add_argument("--draws", type=int, default=None)
    parser.add_argument("--batch-size", type=int, default=None)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.draws = given.draws or (100 if given.what == "residuals" else 10)
    given.batch_size = given.batch_size or (500 if given.what == "residuals" else OBSERVATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {"residuals": residuals, "memory": memory}[given.what](given)
