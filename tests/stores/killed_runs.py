"""One run to the end, and one killed by SIGKILL at ten random moments: ``killed_runs.py FOLDER``.

Children are forked after all imports, so that moments fall into the run and not into the imports.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import zarr  # noqa: F401

from store_helpers import complete_segments, run
from toy_models import ConjugateNormal

torch.set_num_threads(1)
folder = Path(sys.argv[1])
toy = ConjugateNormal(64)
KILLS, MINIBATCHES = 10, 32


def begin(store: Path) -> int:
    """Start a run of 32 minibatches in a child; its process number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(toy, toy.data, batch_size=64 // MINIBATCHES, num_samples=40, store=store)
            status = 0
        finally:
            os._exit(status)
    return child


def end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


started = time.monotonic()
assert end(begin(folder / "whole.zarr")) == 0
took = time.monotonic() - started

moments = random.Random(0)
store, kills, progress = folder / "killed.zarr", 0, []
while kills < KILLS:
    child = begin(store)
    time.sleep(moments.uniform(0.02, 0.14) * took)
    os.kill(child, signal.SIGKILL)
    if end(child) != -signal.SIGKILL:
        break  # it came to its end first
    kills += 1
    progress.append(complete_segments(store))
    assert progress == sorted(progress), "a complete segment was lost"
assert end(begin(store)) == 0
sys.stdout.write(f"{kills} kills, complete segments after each: {progress}\n")
