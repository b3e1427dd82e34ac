"""CPU seconds to a given error of a quantile: pyro-posterior's stratified draws beside scvi-tools.

    python benchmarks/time_to_error.py [--genes 1000] [--error 0.02] [--batch-size 2000]

Of w_sf in a cell2location model of 2,000 observations (guide set up, not fitted, which does not change
what a draw costs), the error of the 5 % quantile in units of the posterior's sd:

- independent draws need ``q (1 - q) / (error * density)^2`` of a normal posterior. scvi-tools draws
  independently; its seconds per draw are those of 15 draws less those of 5, over 10, so that what it
  does once is not counted, in turns with our calls;
- of stratified draws, the fewest of `COUNTS` are taken whose errors over 5 seeds, against a
  run of 4,000 draws, have a root mean square below it. Their seconds are those of whole calls.

Prints also the time of whole calls of 1,000 stratified draws over that of independent ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import torch

from peers.cell2location_model import make_cell2location
from pyro_posterior import PyroSampleMixin

SITE, Q = "w_sf", 0.05
COUNTS = (50, 75, 100, 150, 175, 200, 225, 250, 300, 500, 1000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--error", type=float, default=0.02)
    parser.add_argument("--batch-size", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    model = make_cell2location(2000, args.genes, 20, args.batch_size)
    own = {"accelerator": "cpu", "batch_size": args.batch_size, "show_progress": False}

    def ours(count: int, seed: int = 1, **options: Any) -> Any:
        return PyroSampleMixin.sample_posterior(
            model, num_samples=count, seed=seed, **own, **options
        )

    def theirs(count: int) -> Any:
        return model.sample_posterior(num_samples=count, **own)

    whole_calls(ours, args.turns)
    count = fewest(ours, args.error)
    normal = NormalDist()
    needed = Q * (1 - Q) / (args.error * normal.pdf(normal.inv_cdf(Q))) ** 2
    mine, per_draw = [], []
    for _ in range(args.turns):
        mine.append(seconds(lambda: ours(count)))
        few = seconds(lambda: theirs(5))
        per_draw.append((seconds(lambda: theirs(15)) - few) / 10)
        print(f"  ours {mine[-1]:.2f} s, scvi-tools {per_draw[-1]:.3f} s a draw", flush=True)
    left, right = statistics.median(mine), statistics.median(per_draw) * needed
    print(
        f"2,000 observations x {args.genes:,} genes, q05 of {SITE} to {args.error} sd: {count} "
        f"stratified draws, {left:.2f} s; {needed:,.0f} independent draws of scvi-tools, {right:,.0f} "
        f"s; ratio {right / left:,.0f}"
    )


def whole_calls(ours: Callable[..., Any], turns: int) -> None:
    """Seconds of calls of 1,000 draws, both kinds in turns; those before are not counted."""
    taken: dict[str, list[float]] = {"independent": [], "stratified": []}
    for turn in range(turns + 1):
        for kind, found in taken.items():
            needed = seconds(lambda kind=kind: ours(1000, draws=kind))
            if turn:
                found.append(needed)
    pairs = zip(taken["independent"], taken["stratified"], strict=True)
    ratio = statistics.median(b / a for a, b in pairs)
    words = ", ".join(f"{kind} {statistics.median(x):.2f} s" for kind, x in taken.items())
    print(
        f"whole calls of 1,000 draws: {words}; median ratio of {turns} pairs {ratio:.2f}",
        flush=True,
    )


def fewest(ours: Callable[..., Any], error: float) -> int:
    """Stratified draws whose 5 % quantiles have so small an error."""
    only = {"return_sites": [SITE]}
    reference = ours(4000, seed=0, **only)
    known, sd = reference.q05[SITE], reference.stds[SITE]
    for count in COUNTS:
        off = [(ours(count, seed=10 + i, **only).q05[SITE] - known) / sd for i in range(5)]
        found = float(np.sqrt(np.mean(np.square(off))))
        print(f"  {count} stratified draws: q05 of {SITE} is off by {found:.4f} sd", flush=True)
        if found < error:
            return count
    raise SystemExit(f"{COUNTS[-1]} draws are too few for {error} sd")


def seconds(call: Callable[[], Any]) -> float:
    """Of the processor, which other work on the machine changes less than those of the clock."""
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main()
