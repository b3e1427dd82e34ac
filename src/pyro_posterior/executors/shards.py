"""A share of the segments: the same command runs many times, each with a part of the work."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pyro_posterior.errors import RequestError

#: Number of this share, from 0 on, and how many there are.
Shard = tuple[int, int]


def resolve_shard(shard: Any, environment: Mapping[str, str] = os.environ) -> Shard | None:
    """The share that this process has.

    Parameters
    ----------
    shard
        ``(index, count)``; "auto": from the variables of a SLURM array job or of torchrun, both
        where an array job starts torchrun; None: everything.

    Raises
    ------
    RequestError
        "auto" where no such variables are set, or numbers that are no share.
    """
    if shard is None:
        return None
    if isinstance(shard, str):
        if shard != "auto":
            raise RequestError(f'shard={shard!r}: give (index, count), or "auto"')
        return _from_environment(environment)
    try:
        index, count = (int(number) for number in shard)
    except (TypeError, ValueError):
        raise RequestError(
            f'shard={shard!r}: give (index, count), such as (0, 4), or "auto"'
        ) from None
    if not 0 <= index < count:
        raise RequestError(f"shard={shard!r}: the index counts from 0 and must be below the count")
    return index, count


def _from_environment(environment: Mapping[str, str]) -> Shard:
    def number(name: str, default: int | None = None) -> int:
        try:
            return int(environment[name])
        except KeyError:
            if default is None:
                raise RequestError(f'shard="auto": the variable {name} is not set') from None
            return default
        except ValueError:
            raise RequestError(
                f'shard="auto": the variable {name} is {environment[name]!r}, which is no number'
            ) from None

    index, count = 0, 1
    found = False
    if "SLURM_ARRAY_TASK_ID" in environment:
        found = True
        least, step = number("SLURM_ARRAY_TASK_MIN", 0), number("SLURM_ARRAY_TASK_STEP", 1)
        index = (number("SLURM_ARRAY_TASK_ID") - least) // max(1, step)
        count = number("SLURM_ARRAY_TASK_COUNT")
    if "RANK" in environment and "WORLD_SIZE" in environment:
        found = True
        index = index * number("WORLD_SIZE") + number("RANK")
        count *= number("WORLD_SIZE")
    if not found:
        raise RequestError(
            'shard="auto" takes its share from SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT '
            "(sbatch --array) or RANK and WORLD_SIZE (torchrun); none is set: give "
            "shard=(index, count)"
        )
    return resolve_shard((index, count)) or (0, 1)


def share(segments: Sequence[Any], shard: Shard | None) -> Sequence[Any]:
    """The segments of one share: a run of neighbours, so that each reads its own part of the data."""
    if shard is None:
        return segments
    index, count = shard
    return segments[len(segments) * index // count : len(segments) * (index + 1) // count]


def shares_in_words(missing: Sequence[int], segments: Sequence[int], count: int | None) -> str:
    """Runs of missing segments, and with a ``count`` of shares the one that each run belongs to.

    ``segments`` are the numbers of all segments of the run.
    """
    found = []
    for index in range(count or 1):
        part = share(segments, None if count is None else (index, count))
        lacking = [number for number in part if number in set(missing)]
        if lacking:
            owner = f" (shard {index}/{count})" if count is not None else ""
            found.append(f"{_runs(lacking)}{owner}")
    return "; ".join(found)


def _runs(numbers: Sequence[int]) -> str:
    """``0, 3-7`` for neighbouring numbers."""
    words: list[str] = []
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        first, *rest = [number for _, number in run]
        words.append(f"{first}-{rest[-1]}" if rest else str(first))
    return ", ".join(words)
