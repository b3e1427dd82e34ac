"""Memory that a task frees stays with the process until the task ends.

Dask's nannies set ``MALLOC_TRIM_THRESHOLD_``, so that the C library gives whatever is freed back to
the system at once. Drawing frees and takes the same tens of megabytes hundreds of times; to have the
system fill every page of them with zeros anew took a sixth of the time.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Of malloc.h in the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: What the library comes to by itself where nothing is set, and the default that it begins with.
_LARGEST_MMAP_THRESHOLD, _MMAP_DEFAULT = 32 * 2**20, 128 * 2**10

_VARIABLE = "MALLOC_TRIM_THRESHOLD_"


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Give memory back at the end, where the environment asks for that at every turn.

    Nothing where it does not, or where the C library is another one.
    """
    before, library = os.environ.get(_VARIABLE, ""), _library()
    if library is None or not before.isdigit():
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _MMAP_DEFAULT)
        library.mallopt(_TRIM_THRESHOLD, min(int(before), 2**31 - 1))
        library.malloc_trim(0)


@functools.cache
def _library() -> Any:
    """The GNU C library of this process; None where there is none."""
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
