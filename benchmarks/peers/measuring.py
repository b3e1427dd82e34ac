"""Wall time of one call, and the peak of memory above what the process held before it."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """What one call cost."""

    seconds: float
    cpu_seconds: float  # of all threads
    peak_mib: float  # highest resident memory during the call, less that before it


def measured(call: Callable[[], Any]) -> Measured:
    """Run ``call`` once; its result is dropped after the clock and the peak were read."""
    gc.collect()
    _give_back_free_memory()
    try:
        CLEAR.write_text("5")  # sets the kernel's high-water mark to the present memory
    except OSError:
        return _measured_by_looking(call)
    before = _kib("VmRSS")
    started, worked = time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak = _kib("VmHWM")
    del result
    return Measured(seconds, cpu_seconds, (peak - before) / 1024)


def _measured_by_looking(call: Callable[[], Any]) -> Measured:
    """Where the high-water mark cannot be set: a thread looks every 2 ms."""
    before = peak = _kib("VmRSS")
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, _kib("VmRSS"))

    thread = threading.Thread(target=look)
    thread.start()
    started, worked = time.perf_counter(), time.process_time()
    try:
        result = call()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    finally:
        done.set()
        thread.join()
    del result
    return Measured(seconds, cpu_seconds, (peak - before) / 1024)


def _kib(field: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise RuntimeError(f"{STATUS} has no {field}: peak memory is read from Linux' /proc")


def _give_back_free_memory() -> None:
    """Freed memory that the allocator still holds would hide what the call takes."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return
