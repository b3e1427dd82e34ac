"""Time of the default summaries, ns a value: ours, NumPy's four calls, torch.quantile, a bare sort.

Run with ``python benchmarks/summaries.py [--repeats 5] [--values 8000000]``; the rows of a table
are measured in turn, over and over, so that a busy machine is equally unfair to all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from pyro_posterior.reductions.plan import plan_summaries

FLOOR_COLUMNS = 256


def numpy_calls(x: np.ndarray) -> None:
    """What a user writes without this library."""
    np.mean(x, axis=0)
    np.std(x, axis=0)
    np.quantile(x, 0.05, axis=0)
    np.quantile(x, 0.95, axis=0)


def torch_calls(draws: torch.Tensor) -> None:
    """The same in torch; its quantile takes 16 million values at most."""
    draws.mean(0)
    draws.std(0, correction=0)
    torch.quantile(draws, torch.tensor([0.05, 0.95], dtype=draws.dtype), dim=0)


def sort_only(x: np.ndarray, rows: np.ndarray) -> None:
    """Sorting blocks that already lie ``(column, draw)``, and a copy to have something to sort."""
    for start in range(0, x.shape[1], FLOOR_COLUMNS):
        width = min(FLOOR_COLUMNS, x.shape[1] - start)
        block = rows[:width].copy()
        block.sort(axis=1)


def measure(count: int, values: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Median ns a value, wall clock and processor time, of each way."""
    columns = max(1, values // count)
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(count, columns, generator=generator)
    x = draws.numpy()
    rows = np.ascontiguousarray(x[:, :FLOOR_COLUMNS].T)
    plan = plan_summaries(None)
    ways: dict[str, Callable[[], object]] = {
        "ours, 1 worker": lambda: plan.compute(draws, workers=1),
        "ours, 2 workers": lambda: plan.compute(draws, workers=2),
        "np.sort alone": lambda: sort_only(x, rows),
        "NumPy, four calls": lambda: numpy_calls(x),
        "torch, three calls": lambda: torch_calls(draws),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            way()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    scale = 1e9 / (count * columns)
    return {
        name: (
            statistics.median(wall for wall, _ in taken) * scale,
            statistics.median(processor for _, processor in taken) * scale,
        )
        for name, taken in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--values", type=int, default=8_000_000)
    parser.add_argument("--draws", type=int, nargs="+", default=[100, 200, 1000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = [measure(count, options.values, options.repeats) for count in options.draws]
    print(f"ns a value, float32, median of {options.repeats}: wall clock (processor time)")
    print(f"{'draws':20}" + "".join(f"{count:>18,}" for count in options.draws))
    for name in tables[0]:
        cells = (f"{table[name][0]:.2f} ({table[name][1]:.2f})" for table in tables)
        print(f"{name:20}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
