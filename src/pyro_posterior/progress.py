"""What is shown while one waits: reading model and data is a step of its own, then values count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm


@contextmanager
def preparing(show: bool) -> Iterator[None]:
    """A bar with one step, which is full when all has been read; it says how long that took."""
    with tqdm(
        total=1,
        desc="Preparing",
        bar_format="{desc}: {percentage:3.0f}%|{bar}| [{elapsed}]",
        disable=not show,
    ) as bar:
        yield
        bar.update()
