"""One task at a time in a thread of its own, while the caller goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Background:
    """Runs one task at a time in a thread; its error comes up with the next task or `wait`."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[Any] | None = None

    def do(self, task: Callable[..., Any], *args: Any) -> None:
        """Wait for the task before, then begin this one."""
        self.wait()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pyro_posterior-store")
        self._pending = self._pool.submit(task, *args)

    def wait(self) -> None:
        """Until nothing is going on; raises what the last task raised."""
        pending = self._pending
        if pending is None:
            return
        try:
            pending.result()
        finally:
            if pending.done():  # not where the waiting itself was interrupted
                self._pending = None

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None
