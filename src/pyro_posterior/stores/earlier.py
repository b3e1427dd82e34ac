"""What a store that is already there says of the run that began it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from pyro_posterior.errors import StoreError
from pyro_posterior.stores.files import as_folder
from pyro_posterior.stores.parts import holds_run
from pyro_posterior.stores.read import read_progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Earlier:
    """A run that a store holds, finished or not."""

    path: Path
    seed: int
    segment_rows: int
    engine: str  # the tier that draws its first minibatch
    chunk_bytes: int
    finished: bool

    def seed_to_go_on_with(self) -> int:
        """Seed of an unfinished run, so that a call without one can go on.

        Raises
        ------
        StoreError
            The run is finished: there is nothing to go on with.
        """
        if self.finished:
            raise StoreError(
                f"the store {str(self.path)!r} holds a finished run with seed {self.seed}, and "
                f"this call gives no seed: read it with Posterior.open({str(self.path)!r}), pass "
                f"seed={self.seed}, or start anew with overwrite=True"
            )
        logger.info("going on with seed %d of the unfinished store %s", self.seed, self.path)
        return self.seed


def earlier_run(path: str | Path | None) -> Earlier | None:
    """The run that the store at ``path`` holds; None where nothing is there.

    Raises
    ------
    StoreError
        There is something that is no store.
    """
    if path is None:
        return None
    path = as_folder(path)
    if not holds_run(path):
        return None
    progress = read_progress(path)
    plan, rows = progress.header.plan, progress.header.segment_rows
    return Earlier(path, plan.seed, rows, plan.engine, plan.chunk_bytes, progress.finished)
