"""Several devices of this machine: a process on each draws segments of one job."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from typing import Any

import torch

from pyro_posterior.contracts import Store
from pyro_posterior.drawing import values_of
from pyro_posterior.errors import PosteriorError
from pyro_posterior.executors.here import keeping_what_is_written, progress_bar
from pyro_posterior.executors.shipping import Drawn, Elsewhere, draw, pack
from pyro_posterior.executors.tasks import Task, tasks_of_globals
from pyro_posterior.job import Job

_mine: list[Elsewhere] = []


class ProcessDied(PosteriorError, RuntimeError):
    """A process that drew on one of several devices ended before its work was done."""


def execute(job: Job, store: Store, devices: Sequence[Any]) -> None:
    """Draw what the store lacks, each device taking the next segment as it becomes free.

    The processes are new ones (a script that calls this needs ``if __name__ == "__main__":``).
    """
    missing = store.missing()
    segments = [segment for segment in job.segments if segment.number in missing]
    if not segments:
        return
    context = multiprocessing.get_context("spawn")
    waiting = context.Queue()  # which takes more than a pipe holds before anyone reads
    waiting.cancel_join_thread()  # nor is one that died waited for
    for device in devices:
        waiting.put(pack(job, device=device))
    threads = max(1, torch.get_num_threads() // len(devices))
    with (
        closing(waiting),
        keeping_what_is_written(store),
        progress_bar(job, segments) as bar,
        ProcessPoolExecutor(len(devices), context, _begin, (waiting, threads)) as pool,
    ):
        by_number = {segment.number: segment for segment in segments}
        tasks = tasks_of_globals(segments, len(devices))
        tasks += [(segment.number,) for segment in segments if segment.length]
        running = {pool.submit(_draw, numbers) for numbers in tasks}
        try:
            for future in as_completed(running):
                drawn = future.result()
                for result in drawn.results:
                    store.write(result)
                bar.update(sum(values_of(job, by_number[number]) for number in drawn.numbers))
        except BrokenProcessPool as error:
            raise ProcessDied(
                "a process that drew on one of the devices ended by itself, often because memory "
                "ran out: use fewer devices or smaller minibatches"
            ) from error
        finally:
            for future in running:
                future.cancel()


def _begin(waiting: Any, threads: int) -> None:
    """What each process does first: take one device's request."""
    torch.set_num_threads(threads)
    _mine.append(Elsewhere(waiting.get()))


def _draw(numbers: Task) -> Drawn:
    return draw(_mine[0], numbers)
