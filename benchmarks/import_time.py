"""Time of ``import pyro_posterior`` against ``import pyro``: medians of alternating fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys

RUNS = 9
LIMIT = 1.5
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    """Import time of ``module`` in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> int:
    """Print both medians and their ratio; 1 where the ratio is not under the limit."""
    modules = ("pyro", "pyro_posterior")
    for module in modules:  # once, so that files are in the disk cache
        seconds(module)
    times = [[seconds(module) for module in modules] for _ in range(RUNS)]
    ours, theirs = (statistics.median(column) for column in list(zip(*times, strict=True))[::-1])
    print(f"import pyro            {theirs:.2f} s (median of {RUNS})")
    print(f"import pyro_posterior  {ours:.2f} s (median of {RUNS})")
    print(f"ratio                  {ours / theirs:.2f} (limit {LIMIT})")
    return 0 if ours / theirs < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
