"""Where the results of a job live."""

from __future__ import annotations

from pyro_posterior.contracts import Store
from pyro_posterior.job import Job
from pyro_posterior.stores.create import open_zarr_store
from pyro_posterior.stores.memory import MemoryStore
from pyro_posterior.written import pack


def open_store(job: Job) -> Store:
    """Memory, or the folder asked for, new or gone on with."""
    if job.request.store is None:
        return MemoryStore(job.plan, job.segments)
    return open_zarr_store(
        job.request.store,
        job.plan,
        job.segments,
        job.rows,
        job.identity,
        coords=pack(job.coords),
        overwrite=job.request.overwrite,
    )
