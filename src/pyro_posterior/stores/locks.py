"""Many may write to a store at once, or one may change it as a whole: file locks, where there are any.

A writer of one segment holds one of several locks; who begins, removes or closes the store holds all.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock

from pyro_posterior.errors import StoreError
from pyro_posterior.stores.files import folder_inside

logger = logging.getLogger(__name__)

#: Where the lock files are.
FOLDER = ("segments", "locks")

#: So many segments can be written at the same moment.
LOCKS = 8

#: Seconds after which one who waits says so.
PATIENCE = 10.0

# A lock that is no more than a file would outlive a killed process.
_REAL: dict[str, Any] = (
    {"fallback_to_soft": False}
    if "fallback_to_soft" in inspect.signature(filelock.FileLock.__init__).parameters
    else {}
)


def one_segment(root: Path, number: int) -> contextlib.AbstractContextManager[bool]:
    """Hold the store as it is while a segment is written; whether it could be held."""
    return _holding(root, [number % LOCKS])


def whole_store(root: Path) -> contextlib.AbstractContextManager[bool]:
    """Hold all others off; whether that could be done."""
    return _holding(root, range(LOCKS))


@contextlib.contextmanager
def _holding(root: Path, numbers: Iterable[int]) -> Iterator[bool]:
    folder = folder_inside(root, *FOLDER)
    with contextlib.ExitStack() as held:
        try:
            for number in numbers:
                _acquire(Path(folder, str(number)), root, held)
            able = True
        except (NotImplementedError, OSError) as error:
            if isinstance(error, StoreError):
                raise
            logger.debug("no file locks in %s (%s)", root, error)
            able = False
        yield able


def _acquire(file: Path, root: Path, held: contextlib.ExitStack) -> None:
    if file.is_symlink():
        raise StoreError(f"{str(file)!r} is a link where a lock belongs: remove it")
    lock = filelock.FileLock(str(file), **_REAL)
    try:
        lock.acquire(timeout=PATIENCE)
    except filelock.Timeout:
        logger.warning("waiting for another process that writes to the store %s", root)
        lock.acquire()
    held.callback(lock.release)
