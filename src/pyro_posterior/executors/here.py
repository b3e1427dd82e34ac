"""This process draws all that is missing, segment after segment."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from tqdm.auto import tqdm

from pyro_posterior.contracts import Segment, Store
from pyro_posterior.drawing import draw_segments
from pyro_posterior.job import Job

logger = logging.getLogger(__name__)


def execute(job: Job, store: Store) -> None:
    """Draw the segments that the store lacks; what ends this early says how to go on."""
    missing = store.missing()
    segments = [segment for segment in job.segments if segment.number in missing]
    try:
        with _progress_bar(job, segments) as bar:
            for result in draw_segments(job, segments, bar.update):
                store.write(result)
    except BaseException as error:
        if kept := store.describe():
            logger.warning("interrupted: %s", kept)
            error.add_note(kept)
        raise


def _progress_bar(job: Job, segments: Sequence[Segment]) -> tqdm[None]:
    """Counts values drawn, so that minibatches and sites of all sizes go at one speed."""
    per_draw = sum(
        math.prod(site.full_shape(segment.length))
        for segment in segments
        for site in job.sites_of(segment)
    )
    return tqdm(
        total=per_draw * job.plan.num_samples,
        desc="Sampling posterior",
        unit=" values",
        unit_scale=True,
        disable=not job.request.show_progress,
    )
