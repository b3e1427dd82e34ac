"""Drawing on several workers beside drawing in one process: time, overhead, memory.

    python benchmarks/machines.py speed      # one process, and Dask with 1 and 2 single-thread workers
    python benchmarks/machines.py speed --sides 2 --repeats 1    # 2 workers alone
    python benchmarks/machines.py growth     # 20,000 to 2,000,000 observations on 2 workers

Counts are simulated by index and never stored as a whole: any worker makes the rows it needs. The
model has 20 factors; their weights in an observation come from an encoder, so that nothing grows
with the observations but the result, which goes to a store.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from pyro_posterior import sample_posterior

FACTORS, GENES, BATCH = 20, 200, 2000


class Counts(Dataset[Any]):
    """``(counts, index)`` of any rows, the same whenever and wherever they are asked for."""

    def __init__(self, observations: int) -> None:
        self._observations = observations

    def __len__(self) -> int:
        return self._observations

    def __getitem__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        noise = np.random.Generator(np.random.Philox(key=rows[0]))
        counts = noise.poisson(3.0, (len(rows), GENES)).astype(np.float32)
        return torch.from_numpy(counts), torch.tensor(rows)


class Factors(torch.nn.Module):
    """Counts are Poisson with rates ``weights @ programs``."""

    def __init__(self, observations: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.observations = observations
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(GENES, 64), torch.nn.Softplus(), torch.nn.Linear(64, 2 * FACTORS)
        )

    def model(self, counts: torch.Tensor, index: torch.Tensor) -> None:
        """Programs of genes are global, weights belong to an observation."""
        shape = dist.Gamma(1.0, 1.0).expand([FACTORS, GENES]).to_event(2)
        programs = pyro.sample("programs", shape)
        with pyro.plate("cells", self.observations, subsample=index, dim=-1):
            prior = dist.LogNormal(0.0, 1.0).expand([FACTORS]).to_event(1)
            weights = pyro.sample("weights", prior)
            total = weights.sum(-1, keepdim=True)
            pyro.deterministic("shares", weights / total, event_dim=1)
            pyro.sample("counts", dist.Poisson(weights @ programs).to_event(1), obs=counts)

    def guide(self, counts: torch.Tensor, index: torch.Tensor) -> None:
        """Weights from an encoder of the counts."""
        loc = pyro.param("loc", torch.zeros(FACTORS, GENES))
        pyro.sample("programs", dist.LogNormal(loc, 0.1).to_event(2))
        mean, scale = self.encoder(torch.log1p(counts)).chunk(2, -1)
        with pyro.plate("cells", self.observations, subsample=index, dim=-1):
            normal = dist.LogNormal(mean, torch.nn.functional.softplus(scale) + 0.01)
            pyro.sample("weights", normal.to_event(1))


def open_data(observations: int) -> Any:
    """Batches of whole index ranges, made where they are asked for."""
    data = Counts(observations)
    return DataLoader(
        data, sampler=BatchSampler(SequentialSampler(data), BATCH, False), batch_size=None
    )


def draw(observations: int, draws: int, store: Path, client: Any = None) -> float:
    """Seconds of one call that writes summaries to a store."""
    factors = Factors(observations)
    factors.guide(*next(iter(open_data(observations))))  # as a fit would, which makes parameters
    started = time.perf_counter()
    sample_posterior(
        factors.model,
        factors.guide,
        open_data(observations),
        num_samples=draws,
        obs_plate="cells",
        seed=0,
        store=store,
        client=client,
        show_progress=False,
    )
    return time.perf_counter() - started


def peak() -> float:
    """Largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cluster(workers: int) -> Any:
    """So many processes on this machine, each with one thread."""
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    )


def speed(options: argparse.Namespace, folder: Path) -> None:
    """One process on one thread (0 workers) beside Dask, taking turns; a small call of each before."""
    from distributed import Client

    torch.set_num_threads(1)
    seconds: dict[int, list[float]] = {workers: [] for workers in options.sides}
    with contextlib.ExitStack() as stack:
        clients: dict[int, Any] = {}
        for workers in options.sides:
            clients[workers] = None
            if workers:
                clients[workers] = stack.enter_context(
                    Client(stack.enter_context(cluster(workers)))
                )
            draw(8 * BATCH, 100, folder / f"first {workers}.zarr", clients[workers])
        for turn in range(options.repeats):
            for workers, client in clients.items():
                store = folder / f"{workers} {turn}.zarr"
                took = draw(options.observations, options.draws, store, client)
                shutil.rmtree(store)
                seconds[workers].append(took)
                print(f"  turn {turn}, {workers or 'no'} workers: {took:.1f} s", flush=True)
    medians = {workers: statistics.median(times) for workers, times in seconds.items()}
    print(f"{options.observations:,} observations, {options.draws} draws, medians: {medians}")
    if 0 in medians:
        for workers in medians:
            print(f"{workers} workers, here over there: {medians[0] / medians[workers]:.3f}")


def growth(options: argparse.Namespace, folder: Path) -> None:
    """Time and memory of client and workers as the observations become more."""
    from distributed import Client

    for observations in options.sizes:
        with cluster(2) as two, Client(two) as client:
            took = draw(observations, options.draws, folder / f"{observations}.zarr", client)
            there = max(client.run(peak).values())
        rate = took / observations * 1e6
        print(
            f"{observations:>10,} observations: {took:7.1f} s ({rate:.1f} us each), peak of this "
            f"process {peak():.0f} MiB, of a worker {there:.0f} MiB",
            flush=True,
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "growth"))
    parser.add_argument("--observations", type=int, default=100_000)
    parser.add_argument("--draws", type=int, default=1600)
    parser.add_argument("--sides", type=int, nargs="+", default=[0, 1, 2], metavar="WORKERS")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[20_000, 200_000, 2_000_000], metavar="N"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        {"speed": speed, "growth": growth}[options.what](options, Path(folder))


if __name__ == "__main__":
    main()
