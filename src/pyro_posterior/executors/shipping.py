"""A job in another process: the request travels as bytes, and the job is made again from it there."""

from __future__ import annotations

import importlib.metadata
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch

from pyro_posterior.contracts import SegmentResult
from pyro_posterior.drawing import draw_segments
from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.executors.pickling import dumps
from pyro_posterior.job import Job, prepare
from pyro_posterior.saved import allow_cell2location
from pyro_posterior.session import undisturbed
from pyro_posterior.stores.opening import open_store


def pack(job: Job, **changed: Any) -> bytes:
    """The job's request with all that it takes from this process: seed and Pyro's parameters.

    ``changed`` are fields of the request that are others there.

    Raises
    ------
    RequestError
        Something in it cannot be pickled.
    """
    request = replace(
        job.request,
        seed=job.plan.seed,
        client=None,
        shard=None,
        overwrite=False,
        show_progress=False,
        **changed,
    )
    parts = {
        "model": request.model,
        "guide": request.guide,
        "data": request.data,
        "to_args": request.to_args,
        "summary_fun": request.summary_fun,
    }
    try:
        return dumps((request, _parameters(job), job.parts, job.known))
    except MissingPackageError:
        raise
    except Exception as error:
        for name, value in parts.items():
            try:
                dumps(value)
            except Exception as reason:
                raise RequestError(
                    f"{name} cannot be sent to other processes ({type(reason).__name__}: {reason}): "
                    "leave out what holds locks, files or connections, or give data= as a function "
                    "without arguments that opens the data where it is called"
                ) from error
        raise


def _parameters(job: Job) -> dict[str, dict[str, Any]]:
    """Pyro's parameters as the job found them; those that its runs made are made there as well."""
    state = pyro.get_param_store().get_state()
    return {
        part: {name: value for name, value in held.items() if name in job.parameters}
        for part, held in state.items()
    }


class Elsewhere:
    """A job made again from its bytes, in a process that draws some of its segments."""

    def __init__(self, packed: bytes) -> None:
        import cloudpickle

        allow_cell2location()  # before anything is unpickled
        self._request, self._state, self._parts, self._known = cloudpickle.loads(packed)
        self._job: Job | None = None

    @contextmanager
    def job(self) -> Iterator[Job]:
        """The job, prepared on first use, with model and guide in place to be run.

        Raises
        ------
        RequestError
            What was read here is not what was read where the job began.
        """
        with pyro.get_param_store().scope(self._state), undisturbed(self._request) as place:
            if self._job is None:
                made = prepare(self._request, place, self._known)
                parts = made.parts
                other = [
                    f"{name} ({_short(parts[name])} here, {_short(self._parts.get(name))} there)"
                    for name in parts
                    if parts[name] != self._parts.get(name)
                ]
                if other:
                    raise RequestError(
                        f"not the same here as in the process where the job began: {', '.join(other)}. "
                        "Model, guide and data must not depend on files, variables, versions or "
                        "processors that differ between machines"
                    )
                self._job = made
            yield self._job


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@dataclass(frozen=True)
class Drawn:
    """What one task gave."""

    numbers: tuple[int, ...]  # of its segments
    results: list[SegmentResult]  # empty where they went to the store
    seconds: float  # for drawing and writing


def draw(elsewhere: Elsewhere, numbers: Sequence[int]) -> Drawn:
    """Draw segments of a job in another process than the one it began in."""
    with elsewhere.job() as job:
        started = time.perf_counter()
        found = draw_segments(job, [s for s in job.segments if s.number in numbers])
        if job.request.store is None:
            return Drawn(tuple(numbers), list(found), time.perf_counter() - started)
        if not os.path.isdir(job.request.store):
            raise RequestError(
                f"store={str(job.request.store)!r} is not there where a worker runs: give a path "
                "that all machines share"
            )
        with open_store(job) as store:
            for result in found:
                store.write(result)
        return Drawn(tuple(numbers), [], time.perf_counter() - started)


def versions() -> dict[str, str]:
    """Versions on which the numbers depend."""
    return {
        "torch": torch.__version__,
        "pyro-ppl": pyro.__version__,
        "pyro-posterior": importlib.metadata.version("pyro-posterior"),
    }


def check_versions(there: dict[str, dict[str, str]]) -> None:
    """Raise where another process has other versions than this one.

    Parameters
    ----------
    there
        `versions` by name of the process.
    """
    here = versions()
    for name, found in there.items():
        other = {key: found.get(key) for key in here if found.get(key) != here[key]}
        if other:
            raise RequestError(
                f"the worker {name} has {_words(other)} where this process has "
                f"{_words({key: here[key] for key in other})}: install the same versions everywhere, "
                "or the numbers would depend on who draws them"
            )


def _words(found: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())
