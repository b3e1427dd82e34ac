"""Peak memory at 1, 4 and 16 times the observations, less the result: it should not grow.

    python benchmarks/memory.py [--engine sliced] [--observations 4000] [--samples 200]

Every run is a fresh process. The peak is what it held at most above what it held before the call;
observations are made batch by batch, so that the data themselves take no memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

FACTORS = (1, 4, 16)
FEATURES = 20
MEGABYTE = 1 << 20


class Batches:
    """Made on the way: rows of counts and their numbers."""

    def __init__(self, observations: int, batch_size: int) -> None:
        self.observations, self.batch_size = observations, batch_size

    def __iter__(self):
        import torch

        for low in range(0, self.observations, self.batch_size):
            index = torch.arange(low, min(low + self.batch_size, self.observations))
            yield (index[:, None] % 7 + torch.arange(FEATURES)).float(), index


def measure(observations: int, args: argparse.Namespace) -> dict[str, float]:
    """One run in this process."""
    import pyro
    import pyro.distributions as dist

    from pyro_posterior import sample_posterior

    def model(y, index):
        rate = pyro.sample("rate", dist.LogNormal(y.new_zeros(FEATURES), 1.0).to_event(1))
        with pyro.plate("obs", observations, subsample=index):
            level = pyro.sample("level", dist.Gamma(y.new_tensor(2.0), 2.0))
            weights = pyro.sample("weights", dist.LogNormal(y.new_zeros(FEATURES), 1.0).to_event(1))
            mean = pyro.deterministic("mean", level[:, None] * weights * rate, event_dim=1)
            pyro.sample("y", dist.Poisson(mean).to_event(1), obs=y)

    def guide(y, index):
        pyro.sample("rate", dist.LogNormal(y.new_zeros(FEATURES), 0.1).to_event(1))
        with pyro.plate("obs", observations, subsample=index):
            pyro.sample("level", dist.Gamma(10 + y.sum(-1), 10.0))
            pyro.sample("weights", dist.LogNormal((y + 1).log(), 0.1).to_event(1))

    def draw(batches):
        return sample_posterior(
            model,
            guide,
            batches,
            num_samples=args.samples,
            engine=args.engine,
            accelerator="cpu",
            seed=0,
            show_progress=False,
        )

    draw(Batches(2 * args.batch_size, args.batch_size))  # libraries load and warm up
    before = _peak()
    started = time.perf_counter()
    posterior = draw(Batches(observations, args.batch_size))
    seconds = time.perf_counter() - started
    result = sum(x.nbytes for arrays in posterior.values() for x in arrays.values())
    return {"seconds": seconds, "peak": _peak() - before, "result": result}


def _peak() -> int:
    """Most bytes this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Measure each size in a process of its own and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observations", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=500)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--engine", default="auto", choices=["auto", "sliced", "loop"])
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only is not None:
        print(json.dumps(measure(args.only, args)))
        return
    print(f"{args.samples} draws, batches of {args.batch_size}, engine {args.engine}; MB = 2**20")
    print(
        f"{'observations':>12} {'seconds':>8} {'peak MB':>8} {'result MB':>10} {'peak less result MB':>20}"
    )
    for factor in FACTORS:
        observations = args.observations * factor
        command = [sys.executable, __file__, *sys.argv[1:], "--only", str(observations)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        peak, result = found["peak"] / MEGABYTE, found["result"] / MEGABYTE
        print(
            f"{observations:>12} {found['seconds']:>8.2f} {peak:>8.1f} {result:>10.1f} "
            f"{peak - result:>20.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
