"""Predictions and log densities of a gamma-Poisson model: speed side by side, memory as data grow.

    python benchmarks/answers.py predictive likelihood   # against Pyro's and NumPyro's
    python benchmarks/answers.py memory                  # 1, 4 and 16 times the observations
    python benchmarks/answers.py wide                    # 12,000 columns in minibatches

``--numpyro PYTHON`` names the Python of an environment that has numpyro. Sides take turns in one run,
one thread each; medians of processor seconds are printed, and those of torch's Poisson numbers alone,
the floor of all that draw by it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_posterior import sample_posterior

PEER = Path(__file__).parent / "peers" / "gamma_poisson_numpyro.py"
BATCH = 250


class GammaPoisson:
    """Counts whose rates are a size of the observation times a rate of the column."""

    def __init__(self, observations: int, columns: int, rate: float = 2.0) -> None:
        self.observations, self.columns, self.rate = observations, columns, rate

    def model(self, index: torch.Tensor, y: torch.Tensor | None = None) -> None:
        columns = pyro.plate("columns", self.columns, dim=-1)
        with columns:
            rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("obs", self.observations, dim=-2, subsample=index):
            size = pyro.sample("size", dist.Gamma(10.0, 10.0))
            with columns:
                pyro.sample("y", dist.Poisson(size * rate), obs=y)

    def guide(self, index: torch.Tensor, y: torch.Tensor | None = None) -> None:
        with pyro.plate("columns", self.columns, dim=-1):
            pyro.sample("rate", dist.Gamma(50 * torch.ones(self.columns), 50.0 / self.rate))
        with pyro.plate("obs", self.observations, dim=-2, subsample=index):
            pyro.sample("size", dist.Gamma(50 * torch.ones(len(index), 1), 50.0))

    def batches(self, size: int, rows: int | None = None) -> Any:
        """Minibatches made when they are read, so that data take no memory."""
        return Batches(self, size, self.observations if rows is None else rows)

    def draw(self, data: Any, draws: int, **options: Any) -> Any:
        quiet = {"seed": 0, "show_progress": False, "obs_plate": "obs"}
        return sample_posterior(
            self.model, self.guide, data, num_samples=draws, **{**quiet, **options}
        )


class Batches:
    """Counts of one rate."""

    def __init__(self, of: GammaPoisson, size: int, rows: int) -> None:
        self._of, self._size, self._rows = of, size, rows

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for first in range(0, self._rows, self._size):
            index = torch.arange(first, min(first + self._size, self._rows))
            generator = torch.Generator().manual_seed(first)
            rates = torch.full((len(index), self._of.columns), self._of.rate)
            yield index, torch.poisson(rates, generator=generator)


# ------------------------------------------------------------------------------------------- speed


def in_turns(ways: dict[str, Callable[[], float]], turns: int) -> dict[str, float]:
    """Median seconds of each, one after the other, over and over.

    The first turn is not counted, but where ``turns`` is 0.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            seconds = way()
            if turn or not turns:
                times[name].append(seconds)
    return {name: statistics.median(found) for name, found in times.items()}


def timed(call: Callable[[], object]) -> Callable[[], float]:
    """Seconds of the processor that a call takes, which other work on the machine changes less."""

    def measured() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return measured


def peer(python: str | None, options: argparse.Namespace, word: str) -> dict[str, Any]:
    """NumPyro's call, in a process that has compiled it; with parallel=True it takes longer."""
    if python is None:
        return {}
    sizes = [str(n) for n in (options.observations, options.columns, options.draws)]
    threads = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    process = subprocess.Popen(
        [python, str(PEER), *sizes],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "XLA_FLAGS": threads, "JAX_PLATFORMS": "cpu"},
    )

    def ask() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{word} {options.parallel}\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return {f"NumPyro, jitted, parallel={options.parallel}": ask}


def predictive(options: argparse.Namespace) -> None:
    """Predictive draws, summarised by ours, kept by the others."""
    case = GammaPoisson(options.observations, options.columns)
    ((index, y),) = case.batches(options.observations)
    only = {"predictive": True, "return_sites": ["y"]}

    def theirs(parallel: bool) -> object:
        predict = pyro.infer.Predictive(
            case.model,
            guide=case.guide,
            num_samples=options.draws,
            parallel=parallel,
            return_sites=["y"],
        )
        with torch.no_grad():
            return predict(index)

    rates = torch.full((options.observations, options.columns), 2.0)
    small = GammaPoisson(20, 20)
    small.draw(next(iter(small.batches(20))), 8, **only)  # what is imported and made once
    ways = {
        "ours, means, sds and quantiles": timed(
            lambda: case.draw((index, y), options.draws, **only)
        ),
        "ours, means alone": timed(
            lambda: case.draw((index, y), options.draws, summary_fun=["mean"], **only)
        ),
        "ours, means alone, draws kept": timed(
            lambda: case.draw(
                (index, y), options.draws, summary_fun=["mean"], return_samples=True, **only
            )
        ),
        "Predictive(parallel=False)": timed(lambda: theirs(False)),
        "Predictive(parallel=True)": timed(lambda: theirs(True)),
        "torch.poisson alone": timed(lambda: [torch.poisson(rates) for _ in range(options.draws)]),
        **peer(options.numpyro, options, "predictive"),
    }
    show("predictive draws", in_turns(ways, options.turns), options)


def likelihood(options: argparse.Namespace) -> None:
    """Log densities of every observation, NumPyro's from draws it is given."""
    case = GammaPoisson(options.observations, options.columns)
    ((index, y),) = case.batches(options.observations)
    ways = {
        "ours, with log_p, log_q and Pareto k": timed(
            lambda: case.draw((index, y), options.draws, log_likelihood=True, return_sites=["rate"])
        ),
        **peer(options.numpyro, options, "likelihood"),
    }
    show("log densities", in_turns(ways, options.turns), options)


def show(what: str, seconds: dict[str, float], options: argparse.Namespace) -> None:
    values = options.observations * options.columns * options.draws
    print(
        f"{what}: {options.observations:,} x {options.columns:,}, {options.draws} draws, one "
        f"thread, medians of {max(1, options.turns)} turns, load {os.getloadavg()[0]:.1f}"
    )
    ours = next(iter(seconds.values()))
    for name, found in seconds.items():
        print(
            f"| {name} | {found:.2f} s | {found / values * 1e9:.1f} ns a value | "
            f"{found / ours:.2f} |"
        )


# ------------------------------------------------------------------------------------------ memory


def memory_of(key: str) -> float:
    """``VmHWM`` or ``VmRSS`` of this process, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise ValueError(key)


def one_run(options: argparse.Namespace) -> None:
    """Peak memory of one run above what the process held before, and that of its result."""
    case = GammaPoisson(options.observations, options.columns, options.rate)
    asked = {"predictive": True, "log_likelihood": options.both, "return_sites": ["size"]}
    small = GammaPoisson(20, options.columns, options.rate)
    small.draw(small.batches(10), 8, **asked)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory_of("VmRSS"), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        data = case.batches(options.batch, options.rows)
        store = str(Path(folder) / "s") if options.both else None
        got = case.draw(data, options.draws, store=store, **asked)
        result = sum(np.asarray(x).nbytes for arrays in got.values() for x in arrays.values())
        peak, held = memory_of("VmHWM") - before, result / 2**20
        seconds = time.perf_counter() - start
        print(
            f"{peak:.0f} {held:.0f} {seconds:.0f} {memory_of('VmHWM'):.0f} {time.process_time():.0f}"
        )


def in_a_process(*words: str) -> list[str]:
    """What a run in a process of its own prints; memory it frees goes back to the system at once."""
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "100000", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--one", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def memory(options: argparse.Namespace) -> None:
    """Into a store, with log densities and predictions."""
    print("| observations | peak MiB above the start | of it the result | the rest | seconds |")
    for times in (1, 4, 16):
        rows = 2000 * times
        words = ("--observations", str(rows), "--columns", "50", "--draws", "200", "--both")
        peak, held, seconds, _, _ = in_a_process(*words)
        print(f"| {rows:,} | {peak} | {held} | {int(peak) - int(held)} | {seconds} |", flush=True)


def wide(options: argparse.Namespace) -> None:
    """1,000 predictive draws of 12,000 columns, so many rows of 2,000 in minibatches."""
    words = ("--observations", "2000", "--columns", "12000", "--draws", "1000")
    rows = options.rows or 2000
    words = (
        *words,
        "--batch",
        str(options.batch),
        "--rows",
        str(rows),
        "--rate",
        str(options.rate),
    )
    peak, held, seconds, whole, processor = in_a_process(*words)
    print(
        f"| {rows:,} of 2,000 x 12,000, 1,000 draws, minibatches of {options.batch} | peak of the "
        f"process {whole} MiB, {peak} above the start | of it the result {held} | {seconds} s, of "
        f"the processor {processor} |"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    cases = {one.__name__: one for one in (predictive, likelihood, memory, wide)}
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--observations", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--numpyro", metavar="PYTHON")
    parser.add_argument("--parallel", action="store_true", help="NumPyro's parallel=True")
    parser.add_argument("--batch", type=int, default=BATCH, help="rows of a minibatch")
    parser.add_argument("--rows", type=int, help="so many rows of the observations")
    parser.add_argument("--rate", type=float, default=2.0, help="mean of a count")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--both", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.one:
        one_run(chosen)
    for name in chosen.cases:
        cases[name](chosen)
