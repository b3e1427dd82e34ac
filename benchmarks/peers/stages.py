"""Where the CPU time of one call goes, by stage of the pipeline; for ``--profile``.

The functions below are wrapped by a clock of the running thread's CPU time. A stage's time is its
own: what a wrapped function called by it took is taken off. What no stage claims is "other".
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

#: Stage, module, and function or method in it.
STAGES: tuple[tuple[str, str, str], ...] = (
    ("loading minibatches", "pyro_posterior.batches", "Batches.first_two"),
    ("loading minibatches", "pyro_posterior.batches", "Batches.plan"),
    ("reading sites", "pyro_posterior.job", "read"),
    ("recording", "pyro_posterior.program", "record_first"),
    ("recording", "pyro_posterior.sliced.study", "record"),
    ("slicing and batching", "pyro_posterior.sliced.study", "slice_record"),
    ("slicing and batching", "pyro_posterior.sliced.compiled", "batch_slice"),
    ("slicing and batching", "pyro_posterior.sliced.compiled", "build_graphs"),
    ("slicing and batching", "pyro_posterior.sliced.build", "drawn_together"),
    ("checking against the loop", "pyro_posterior.sliced.compiled", "Compiled.check"),
    ("prologue", "pyro_posterior.sliced.compiled", "Compiled.prepare"),
    ("globals", "pyro_posterior.sliced.compiled", "Compiled._globals"),
    ("body", "pyro_posterior.sliced.compiled", "Compiled.run"),
    ("copying draws to their place", "torch", "Tensor.__setitem__"),
    ("summaries", "pyro_posterior.reductions.plan", "SummaryPlan.compute"),
    ("summaries", "pyro_posterior.reductions.columns", "_Block.summarise"),
    ("drawing with the loop", "pyro_posterior.loop", "JointSampler.values"),
)


@contextlib.contextmanager
def staged() -> Iterator[Callable[[], dict[str, float]]]:
    """Wrap the functions; gives a function that tells CPU seconds by stage."""
    clock = _Clock()
    with contextlib.ExitStack() as stack:
        for stage, module, path in STAGES:
            owner: Any = importlib.import_module(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            function = getattr(owner, name)
            setattr(owner, name, clock.wrapped(stage, function))
            stack.callback(setattr, owner, name, function)
        started = time.process_time()
        yield lambda: clock.shares(time.process_time() - started)


class _Clock:
    """Own CPU time by stage, over all threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        self._inner = threading.local()  # per thread: time taken by wrapped functions inside

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, its own time added to ``stage``."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
            started = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                whole = time.thread_time() - started
                own = whole - self._inner.seconds
                self._inner.seconds = outer + whole
                with self._lock:
                    self._seconds[stage] = self._seconds.get(stage, 0.0) + own

        return timed

    def shares(self, total: float) -> dict[str, float]:
        """Seconds by stage, the largest first, and what is left of the whole process."""
        stages = dict(sorted(self._seconds.items(), key=lambda item: -item[1]))
        return stages | {"other": max(total - sum(stages.values()), 0.0)}
