"""How segments are put together for one worker, which draws them in one go."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyro_posterior.contracts import Segment

#: Seconds that one task should take: long beside an executor's overhead, short beside the whole.
TASK_SECONDS = 20.0

#: Tasks per worker, at least, so that a slow one holds nobody up at the end.
TASKS_PER_WORKER = 4

#: Numbers of the segments of one task.
Task = tuple[int, ...]


def tasks_of_globals(segments: Sequence[Segment], workers: int) -> list[Task]:
    """Global sites, their columns spread over as many workers as there are or columns allow.

    Every worker draws all of them and keeps its own columns, so each gets all that it gets at once.
    """
    numbers = [segment.number for segment in segments if not segment.length]
    count = min(workers, len(numbers))
    return [
        tuple(numbers[len(numbers) * index // count : len(numbers) * (index + 1) // count])
        for index in range(count)
    ]


def tasks_of_rows(numbers: Sequence[int], seconds: float, workers: int) -> list[Task]:
    """So many segments that a task takes `TASK_SECONDS`, but every worker still gets several.

    ``seconds`` are those of one segment.
    """
    by_time = max(1, round(TASK_SECONDS / max(seconds, 1e-3)))
    size = min(by_time, max(1, math.ceil(len(numbers) / (TASKS_PER_WORKER * workers))))
    return [tuple(numbers[low : low + size]) for low in range(0, len(numbers), size)]
