"""CPU seconds of the first calls in a process: cell2location, 600 spots x 300 genes, 60 draws.

    OMP_NUM_THREADS=1 python benchmarks/calls.py [--calls 3] [--draws 60]

A call that runs what an earlier one ran takes its program. It needs scvi-tools and cell2location.
"""

from __future__ import annotations

import argparse
import io
import time
import warnings
from contextlib import redirect_stdout

from peers.cell2location_model import make_cell2location
from pyro_posterior.scvi import sample_posterior


def main() -> None:
    """Call and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--draws", type=int, default=60)
    args = parser.parse_args()
    with redirect_stdout(io.StringIO()):
        model = make_cell2location(600, 300, 10, 600)
    options = {"num_samples": args.draws, "batch_size": 600, "show_progress": False}
    for number in range(1, args.calls + 1):
        started = time.process_time()
        found = sample_posterior(model, seed=number, accelerator="cpu", **options)
        print(f"call {number}: {time.process_time() - started:.3f} s ({found.plan.engine})")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
