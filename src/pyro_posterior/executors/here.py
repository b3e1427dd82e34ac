"""This process draws what is missing, segment after segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tqdm.auto import tqdm

from pyro_posterior.contracts import Segment, Store
from pyro_posterior.drawing import draw_segments, values_of
from pyro_posterior.job import Job


def execute(job: Job, store: Store, segments: Sequence[Segment]) -> None:
    """Draw those of ``segments`` that the store lacks."""
    missing = store.missing()
    wanted = [segment for segment in segments if segment.number in missing]
    if not wanted:
        return
    with keeping_what_is_written(store), progress_bar(job, wanted) as bar:
        for result in draw_segments(job, wanted, bar.update):
            store.write(result)


@contextmanager
def keeping_what_is_written(store: Store) -> Iterator[None]:
    """Whatever ends the run early carries a note on how to go on."""
    try:
        yield
    except BaseException as error:
        if kept := store.describe():
            error.add_note(kept)
        raise


def progress_bar(job: Job, segments: Sequence[Segment]) -> tqdm[None]:
    """Counts values drawn, so that minibatches and sites of all sizes go at one speed."""
    return tqdm(
        total=sum(values_of(job, segment) for segment in segments),
        desc="Sampling posterior",
        unit=" values",
        unit_scale=True,
        disable=not job.request.show_progress,
    )
