"""The caller's random states, which are as they were once the library is done."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


@contextlib.contextmanager
def untouched_random_state() -> Iterator[None]:
    """Put torch's (all devices), NumPy's and Python's random states back on leaving."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def random_states() -> tuple[Any, ...]:
    """Python's, NumPy's and torch's states in a form that ``==`` compares."""
    state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = state
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), name, keys.tobytes(), tuple(rest), torch_state


def fresh_seed() -> int:
    """A seed from the operating system, below 2**53 so that it survives JSON."""
    return random.SystemRandom().randrange(2**53)
