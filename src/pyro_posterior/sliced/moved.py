"""Random states that moved while a draw was recorded: by the draw itself, or by another thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.sliced.tape import Record

Found = TypeVar("Found")


class StatesMoved(CannotSliceError):
    """Python's, NumPy's or torch's own random state is another than before the draw."""

    def __init__(self, record: Record, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
        super().__init__(
            "the model or guide draws from Python's, NumPy's or an unseen torch random state"
        )
        self.record = record
        self.seeded, self.torch = after[:-1], after[-1] != before[-1]


def unless_others_moved_them(run: Callable[[], Found]) -> Found:
    """``run()``, again where random states moved: other threads of the process use them too.

    Python's and NumPy's are seeded before a draw: one that moves them itself does so every time in
    one way. Torch's stands still while nothing is drawn, where no other thread draws.
    """
    seeded: tuple[Any, ...] | None = None
    for _ in range(20):
        try:
            return run()
        except StatesMoved as moved:
            if moved.seeded == seeded and not (moved.torch and _torch_moves()):
                raise
            seeded = moved.seeded
    return run()


def _torch_moves() -> bool:
    before = torch.get_rng_state()
    time.sleep(0.05)
    return not torch.equal(torch.get_rng_state(), before)
