"""One call on a scheduler, or in this process: ``dask_call.py STORE [ADDRESS]``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from torch.utils.data import DataLoader, Dataset

from store_helpers import run
from toy_models import ConjugateNormal


class Rows(Dataset[Any]):
    """Rows that take as long to read as the environment of a process says."""

    def __init__(self, toy: ConjugateNormal) -> None:
        self._toy = toy

    def __len__(self) -> int:
        return self._toy.num_obs

    def __getitem__(self, row: int) -> Any:
        time.sleep(float(os.environ.get("SECONDS_PER_ROW", "0")))
        return tuple(x[row] for x in self._toy.data)


def draw(store: Path, client: Any = None) -> Any:
    """23 segments."""
    toy = ConjugateNormal(44)
    loader = DataLoader(Rows(toy), batch_size=2)
    return run(toy, loader, obs_plate="obs", store=store, client=client)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        draw(Path(sys.argv[1]))
    else:
        from distributed import Client

        with Client(sys.argv[2], timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
            draw(Path(sys.argv[1]), client)
