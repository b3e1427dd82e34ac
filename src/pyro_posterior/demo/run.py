"""READ FIRST in the demo: real counts, a fit, 1,000 joint draws for every cell, what they say."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from pyro_posterior.contracts import Engine
from pyro_posterior.demo.counts import Reference, load_reference
from pyro_posterior.demo.model import CountGuide, CountModel, fit
from pyro_posterior.demo.question import Zeros, difference, grouped, zeros_asked, zeros_of
from pyro_posterior.demo.report import (
    Verdict,
    confusions,
    draw_picture,
    judge,
    write_arrays,
    write_table,
)
from pyro_posterior.exports.report import write_report
from pyro_posterior.posterior import Posterior
from pyro_posterior.sampling import sample_posterior

BATCH_SIZE = 128


@dataclass(frozen=True)
class DemoResult:
    """What `run_demo` found and where it wrote it."""

    posterior: Posterior
    reference: Reference
    verdict: Verdict
    zeros: Zeros
    picture: Path
    table: Path
    arrays: Path
    store: Path
    report: Path


def run_demo(
    folder: str | Path,
    num_samples: int = 1000,
    steps: int = 500,
    seed: int = 0,
    *,
    engine: Engine = "auto",
    show_progress: bool = True,
) -> DemoResult:
    """Fit abundances of known cell types to real counts, draw the posterior and report on it.

    Parameters
    ----------
    folder
        Where the picture, the table, the arrays, the store and the report page go; made where it is
        absent.
    num_samples
        Number of joint draws.
    steps
        Steps of stochastic variational inference, on minibatches of 128 cells.
    seed
        Of the split into halves, the fit and the draws.
    engine
        As in `pyro_posterior.sample_posterior`.

    Raises
    ------
    MissingPackageError
        scanpy, matplotlib or zarr is not installed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reference = load_reference(seed)
    cells, genes = reference.counts.shape
    print(
        f"cells     {cells} held-out cells x {genes} genes, {reference.counts.sum():,.0f} molecules, "
        f"{len(reference.types)} annotated types (signatures from the other "
        f"{reference.reference_cells.sum()} cells)"
    )

    started = time.perf_counter()
    model = CountModel(reference)
    guide = CountGuide(model)
    counts = torch.as_tensor(reference.counts, dtype=torch.float32)
    with one_thread():
        loss = fit(model, guide, counts, steps=steps, batch_size=BATCH_SIZE, seed=seed)
    fitted = time.perf_counter()
    print(
        f"fit       {fitted - started:6.1f} s  {steps} steps, loss {loss[0]:,.0f} -> {loss[-1]:,.0f}"
    )

    with one_thread():
        posterior = sample_posterior(
            model,
            guide,
            (counts, torch.arange(cells)),
            batch_size=BATCH_SIZE,
            num_samples=num_samples,
            seed=seed,
            accelerator="cpu",
            engine=engine,
            store=folder / "posterior.zarr",
            overwrite=True,
            show_progress=show_progress,
            coords={"cells": reference.names, "genes": reference.genes, "types": reference.types},
            dims={"share": ["types"]},
            grouped=grouped(reference),
        )
    print(
        f"sampling  {time.perf_counter() - fitted:6.1f} s  {num_samples} joint draws in minibatches "
        f"of {BATCH_SIZE}, {posterior.plan.engine}: {', '.join(posterior.sites)}"
    )

    with one_thread():
        predicted = sample_posterior(
            model,
            guide,
            (counts, torch.arange(cells)),
            batch_size=BATCH_SIZE,
            seed=seed,
            accelerator="cpu",
            engine=engine,
            show_progress=show_progress,
            **zeros_asked(reference),
        )
    zeros = zeros_of(predicted, reference)
    answers = [f"Groups: {difference(posterior, reference)}.", f"Zeros: {zeros}."]
    verdict = judge(posterior, reference)
    result = DemoResult(
        posterior=posterior,
        reference=reference,
        verdict=verdict,
        zeros=zeros,
        picture=folder / "abundance.png",
        table=folder / "abundance.csv",
        arrays=folder / "summaries.npz",
        store=folder / "posterior.zarr",
        report=write_report(
            posterior, folder / "report.html", title="Blood cells: the demo", answers=answers
        ),
    )
    write_table(posterior, reference, result.table)
    write_arrays(posterior, reference, result.arrays)
    draw_picture(posterior, reference, verdict, result.picture)
    _tell(result)
    return result


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: the demo's arrays are so small that sharing them out costs more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tell(result: DemoResult) -> None:
    """What the posterior answers, and the one file to open."""
    verdict = result.verdict
    right, overlap = verdict.right, verdict.overlap
    print(f"right     {verdict.accuracy:.1%} of cells: the largest type is the annotated one")
    words = f"unsure    {overlap.mean():.1%} of cells: the runner-up's 90 % interval overlaps the largest's"
    if overlap.any() and not overlap.all():
        words += f"; right in {right[overlap].mean():.1%} of these, {right[~overlap].mean():.1%} of the others"
    print(words)
    print(f"groups    {difference(result.posterior, result.reference)}")
    print(f"zeros     {result.zeros}")
    print(f"mistakes  {'; '.join(confusions(verdict, result.reference, most=2))}")
    others = (result.picture, result.table, result.arrays, result.store)
    print(f"memory    {peak_memory() / 2**30:.2f} GiB at most (whole process, libraries included)")
    print(f"also      {', '.join(path.name for path in others)} in {result.report.parent}")
    print(f"open      {result.report}")


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
