"""Nanoseconds a value of keyed draws that are no plain fill, beside torch's and NumPy's generators.

    python benchmarks/samplers.py [--turns 15] [--draws 128] [--columns 4000] [NAME ...]

All sides in turn on one thread, medians of the processor's time; ours stratified (1,000 draws, of which
so many are made) and independent. NumPy's is its fastest generator, SFC64, float32 where it has that.
Parameters are a tensor of as many values as are drawn, where it does not say "shared".
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pyro_posterior.keyed.keys import Key, Where
from pyro_posterior.keyed.rules import draw_many

aten = torch.ops.aten
Way = Callable[[], Any]


def gamma(shape: float, shared: bool = False) -> Callable[..., dict[str, Any]]:
    """Standard gamma numbers, of shapes of their own or the same for all draws, as a guide's are."""

    def ways(draws: int, columns: int) -> dict[str, Any]:
        given, rng = torch.full((1 if shared else draws, columns), shape), _rng()
        given = given.expand(draws, columns)
        as_numpy, out = given.numpy(), np.empty((draws, columns), np.float32)
        return {
            "ours": (aten._standard_gamma.default, (given,)),
            "torch": lambda: torch._standard_gamma(given),
            "numpy": lambda: rng.standard_gamma(as_numpy, dtype=np.float32, out=out),
        }

    return ways


def poisson(rate: float) -> Callable[..., dict[str, Any]]:
    """Poisson numbers."""
    return _poisson(lambda draws, columns: torch.full((draws, columns), rate))


def mixed_poisson(shape: float, mean: float) -> Callable[..., dict[str, Any]]:
    """Poisson numbers of rates that are gamma numbers, as in a negative binomial one."""

    def rates(draws: int, columns: int) -> torch.Tensor:
        return torch.from_numpy(_rng().gamma(shape, mean / shape, (draws, columns))).float()

    return _poisson(rates)


def _poisson(rates: Callable[[int, int], torch.Tensor]) -> Callable[..., dict[str, Any]]:
    def ways(draws: int, columns: int) -> dict[str, Any]:
        given, rng = rates(draws, columns), _rng()
        as_numpy = given.numpy().astype(np.float64)
        return {
            "ours": (aten.poisson.default, (given,)),
            "torch": lambda: torch.poisson(given),
            "numpy": lambda: rng.poisson(as_numpy),
        }

    return ways


def binomial(count: float, prob: float) -> Callable[..., dict[str, Any]]:
    """Binomial numbers."""

    def ways(draws: int, columns: int) -> dict[str, Any]:
        n, p, rng = torch.full((draws, columns), count), torch.full((draws, columns), prob), _rng()
        ns, ps = n.numpy().astype(np.int64), p.numpy().astype(np.float64)
        return {
            "ours": (aten.binomial.default, (n, p)),
            "torch": lambda: torch.binomial(n, p),
            "numpy": lambda: rng.binomial(ns, ps),
        }

    return ways


def beta(a: float, b: float) -> Callable[..., dict[str, Any]]:
    """Beta numbers, which torch makes as a Dirichlet of two."""

    def ways(draws: int, columns: int) -> dict[str, Any]:
        given, rng = torch.tensor([a, b]).expand(draws, columns, 2).contiguous(), _rng()
        one, two = (np.full((draws, columns), x) for x in (a, b))
        return {
            "ours": (aten._sample_dirichlet.default, (given,)),
            "torch": lambda: torch._sample_dirichlet(given),
            "numpy": lambda: rng.beta(one, two),
        }

    return ways


def dirichlet(size: int, shape: float) -> Callable[..., dict[str, Any]]:
    """Points of the simplex; a value is one of its coordinates."""

    def ways(draws: int, columns: int) -> dict[str, Any]:
        given, rng = torch.full((draws, columns // size, size), shape), _rng()
        alpha, count = np.full(size, shape), (draws, columns // size)
        return {
            "ours": (aten._sample_dirichlet.default, (given,)),
            "torch": lambda: torch._sample_dirichlet(given),
            "numpy": lambda: rng.dirichlet(alpha, count),
        }

    return ways


def categorical(size: int) -> Callable[..., dict[str, Any]]:
    """Numbers of categories, of probabilities per column; NumPy's by comparison with their sums."""

    def ways(draws: int, columns: int) -> dict[str, Any]:
        probs, rng = torch.rand(columns, size) + 0.1, _rng()
        probs /= probs.sum(-1, keepdim=True)
        flat = probs.expand(draws, columns, size)
        sums = probs.double().cumsum(-1).numpy()
        rows = flat.reshape(-1, size)
        return {
            "ours": (aten.multinomial.default, (flat, 1, True)),
            "torch": lambda: torch.multinomial(rows, 1, replacement=True),
            "numpy": lambda: (rng.random((draws, columns))[..., None] > sums).sum(-1),
        }

    return ways


def _rng() -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(0))


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "gamma 0.3": gamma(0.3),
    "gamma 1": gamma(1.0),
    "gamma 2.3": gamma(2.3),
    "gamma 50": gamma(50.0),
    "gamma 0.3, shared": gamma(0.3, shared=True),
    "gamma 2.3, shared": gamma(2.3, shared=True),
    "beta 2, 3": beta(2.0, 3.0),
    "dirichlet of 10, 0.5": dirichlet(10, 0.5),
    "dirichlet of 10, 2": dirichlet(10, 2.0),
    "poisson 0.3": poisson(0.3),
    "poisson 2.3": poisson(2.3),
    "poisson 8": poisson(8.0),
    "poisson 50": poisson(50.0),
    "poisson 2000": poisson(2000.0),
    "poisson of gammas 1, mean 3": mixed_poisson(1.0, 3.0),
    "poisson of gammas 1, mean 0.5": mixed_poisson(1.0, 0.5),
    "binomial 10, 0.3": binomial(10.0, 0.3),
    "binomial 500, 0.3": binomial(500.0, 0.3),
    "categorical of 10": categorical(10),
}


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(KINDS), metavar="NAME")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--draws", type=int, default=128)
    parser.add_argument("--columns", type=int, default=4000)
    args = parser.parse_args()
    print(f"ns a value, {args.draws} x {args.columns} values a call, medians of {args.turns}")
    print("| kind | stratified | independent | torch | NumPy | stratified / best other |")
    for name in args.names:
        ways = KINDS[name](args.draws, args.columns)
        found = measured(ours(ways, args.draws), args.turns, args.draws * args.columns)
        best = min(found["torch"], found["numpy"])
        cells = " | ".join(f"{found[way]:.1f}" for way in found)
        print(f"| {name} | {cells} | {found['stratified'] / best:.2f} |", flush=True)


def ours(ways: dict[str, Any], draws: int) -> dict[str, Way]:
    """The keyed draws in both kinds, and the other sides."""
    func, given = ways.pop("ours")
    key = Key("site", 0, True)

    def drawn(cubes: tuple[int, ...]) -> Way:
        return lambda: draw_many(func, key, Where(0, range(draws), 0, cubes), given, {})

    return {"stratified": drawn((1000,)), "independent": drawn(()), **ways}


def measured(ways: dict[str, Way], turns: int, values: int) -> dict[str, float]:
    """Medians of nanoseconds a value; the first turn is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    repeats = max(1, 100_000 // values)
    for turn in range(turns + 1):
        for name, way in ways.items():
            started = time.thread_time()
            for _ in range(repeats):
                way()
            if turn:
                taken[name].append((time.thread_time() - started) / repeats / values * 1e9)
    return {name: statistics.median(x) for name, x in taken.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
