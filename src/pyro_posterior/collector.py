"""Python's garbage collector, kept from going over all that a process has loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def old_ones_left_alone() -> Iterator[None]:
    """Only what is made inside is collected: recording makes many small objects.

    They set off passes over everything that lives, which takes 0.3 s where scvi-tools is loaded. A
    process that has frozen objects itself keeps them so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
