"""Dask's workers draw the segments; scheduling, lost workers and retries are Dask's own."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import dask
from distributed import Client, WorkerPlugin, as_completed

from pyro_posterior.contracts import Segment, Store
from pyro_posterior.drawing import values_of
from pyro_posterior.errors import RequestError
from pyro_posterior.executors.allocator import freed_memory_kept
from pyro_posterior.executors.here import keeping_what_is_written, progress_bar
from pyro_posterior.executors.shipping import Drawn, Elsewhere, check_versions, draw, pack, versions
from pyro_posterior.executors.tasks import Task, tasks_of_globals, tasks_of_rows
from pyro_posterior.job import Job
from pyro_posterior.segments import site_bytes

logger = logging.getLogger(__name__)

#: Results of more bytes go to a store; through the scheduler they would fill the client's memory.
MOST_BYTES_RETURNED = 2_000_000_000

_packed: dict[str, bytes] = {}
_jobs: dict[str, Elsewhere] = {}


class Shipment(WorkerPlugin):
    """Brings the request to every worker once, to those that join later too.

    ``setup`` runs in a worker's event loop, so it takes bytes and no more; the first task unpacks.
    """

    idempotent = True

    def __init__(self, digest: str, packed: bytes) -> None:
        self.name = f"pyro-posterior-{digest}"
        self._digest = digest
        self._bytes = packed

    def setup(self, worker: Any) -> None:
        """Keep the bytes for the tasks of this job."""
        _packed[self._digest] = self._bytes

    def teardown(self, worker: Any) -> None:
        """Forget the job."""
        _packed.pop(self._digest, None)
        _jobs.pop(self._digest, None)


def execute(job: Job, store: Store) -> None:
    """Draw what the store lacks on the workers of ``request.client``.

    Raises
    ------
    RequestError
        No workers, workers of other versions, a request that cannot be sent, or results too large
        to come back where there is no store.
    """
    client = job.request.client
    if not isinstance(client, Client):
        raise RequestError(
            f"client= must be a dask.distributed.Client, found {type(client).__name__}: "
            "client=Client(address), or Client(LocalCluster())"
        )
    missing = store.missing()
    segments = [segment for segment in job.segments if segment.number in missing]
    if not segments:
        return
    _check(client, job)
    plugin = Shipment(job.digest, pack(job))
    client.register_plugin(plugin)
    with keeping_what_is_written(store), progress_bar(job, segments) as bar:
        try:
            _draw_all(client, job, store, segments, bar)
        finally:
            client.unregister_worker_plugin(plugin.name)


def _draw_all(
    client: Client, job: Job, store: Store, segments: Sequence[Segment], bar: Any
) -> None:
    """Global sites and a segment of rows for each worker; its time tells how many make a task."""
    by_number = {segment.number: segment for segment in segments}
    workers = max(1, sum(client.nthreads().values()))
    waiting = [segment.number for segment in segments if segment.length]
    first = tasks_of_globals(segments, workers) + [(number,) for number in waiting[:workers]]
    running = [_submit(client, job, numbers) for numbers in first]
    del waiting[:workers]
    done = as_completed(running, with_results=True, raise_errors=False)
    try:
        for future, drawn in done:
            if future.status != "finished":
                raise _reason(drawn)
            for result in drawn.results:
                store.write(result)
            bar.update(sum(values_of(job, by_number[number]) for number in drawn.numbers))
            future.release()
            if waiting and by_number[drawn.numbers[0]].length:
                for numbers in tasks_of_rows(waiting, drawn.seconds, workers):
                    running.append(_submit(client, job, numbers))
                    done.add(running[-1])
                waiting = []
    finally:
        client.cancel(running)


def _submit(client: Client, job: Job, numbers: Task) -> Any:
    return client.submit(
        _draw,
        job.digest,
        numbers,
        key=f"pyro-posterior-{job.digest}-{numbers[0]}-{numbers[-1]}-{time.time_ns()}",
        pure=False,
    )


def _reason(found: Any) -> BaseException:
    """What a task raised; Dask hands out the error, or its type, the error and where it was."""
    return found if isinstance(found, BaseException) else found[1]


def _draw(digest: str, numbers: Task) -> Drawn:
    """One task: runs in a worker, which makes the job when its first task comes.

    Data that are Dask arrays are computed in this thread: as tasks of their own they would wait
    for a worker, and it for them.
    """
    if digest not in _jobs:
        _jobs[digest] = Elsewhere(_packed[digest])
    with dask.config.set(scheduler="synchronous"), freed_memory_kept():
        return draw(_jobs[digest], numbers)


def _check(client: Client, job: Job) -> None:
    if not client.scheduler_info()["workers"]:
        raise RequestError(
            "client= has no workers: start some, or wait with client.wait_for_workers"
        )
    check_versions(client.run(versions))
    if job.batches.count is None:
        raise RequestError(
            "data can only be read from its beginning, so every worker would have to read all of "
            "it: give a DataLoader over a dataset with __len__ and __getitem__, arrays, a list of "
            "batches, or a function without arguments that opens one of these on each worker"
        )
    if job.request.store is None:
        size = sum(site_bytes(job.plan, site) for site in job.plan.sites)
        if size > MOST_BYTES_RETURNED:
            raise RequestError(
                f"the results take {size / 1e9:.1f} GB, too much to come back through Dask's "
                "scheduler: give store= a folder that all workers share"
            )
