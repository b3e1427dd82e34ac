"""How a run is cut: segments of whole minibatches, so many that none is too large or too small."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from pyro_posterior.contracts import RunPlan, Segment, Site

#: Bytes of results that one segment should hold, before compression.
SEGMENT_BYTES = 48_000_000

#: Bytes of all draws of a global site that one segment should hold.
COLUMN_BYTES = 64_000_000

#: A run is cut into about this many segments, or more where they would grow beyond SEGMENT_BYTES.
FEWEST_SEGMENTS = 64


def segment_rows(plan: RunPlan) -> int:
    """Observations per segment: whole minibatches, unless their sizes are irregular."""
    if not plan.local_sites:
        return 0
    size = max(1, int(np.median(plan.batch_sizes)), plan.batch_sizes[0])
    per_obs = sum(site_bytes(plan, site) for site in plan.local_sites) / plan.num_obs
    by_bytes = int(SEGMENT_BYTES // max(1.0, size * per_obs))
    by_count = math.ceil(len(plan.batch_sizes) / FEWEST_SEGMENTS)
    return size * max(1, min(by_bytes, by_count))


def with_columns(
    sites: Sequence[Site], num_samples: int, whole: Collection[str] = ()
) -> tuple[Site, ...]:
    """The sites, each told how many of its columns a segment has: global ones that are large are cut.

    Parameters
    ----------
    sites
        Any.
    num_samples
        Draws of the run.
    whole
        Names of sites that are not cut, whatever they take.
    """
    found = []
    for site in sites:
        size = math.prod(site.shape) * site.dtype.itemsize * num_samples
        columns = 0
        if site.batch_axis is None and size > COLUMN_BYTES and site.name not in whole:
            longest = max(site.shape, default=1)
            columns = math.ceil(longest / min(longest, math.ceil(size / COLUMN_BYTES)))
            columns = 0 if columns == longest else columns
        found.append(replace(site, columns=columns))
    return tuple(found)


def cut(
    plan: RunPlan, rows: int, digests: Sequence[str] = (), *, homes: Sequence[int] = (0,)
) -> tuple[Segment, ...]:
    """All segments of a run.

    Parameters
    ----------
    plan
        With the sizes of all minibatches.
    rows
        Observations per segment (all but the last are as long), from `segment_rows` or from the
        header of the store that is gone on with.
    digests
        Of each minibatch's data; none where nobody will ask.
    homes
        The minibatches that global sites are drawn with: the first, unless it lacks some.

    Returns
    -------
    tuple of Segment
        Those of global sites, from 0 on, then those of the rows, from 1 on at the least.
    """
    found = []
    if plan.global_sites:
        pieces = tuple((home, 0, plan.batch_sizes[home]) for home in homes)
        joined = _joined([digests[home] for home in homes] if digests else [])
        parts = max(site.global_parts for site in plan.global_sites)
        found += [Segment(part, (0, 0), pieces, joined) for part in range(parts)]
    if plan.local_sites:
        starts = [0, *itertools.accumulate(plan.batch_sizes)]
        low = 0  # the first minibatch that may have rows in the segment
        for number, first in enumerate(range(0, plan.num_obs, rows), max(1, len(found))):
            behind = min(first + rows, plan.num_obs)
            while starts[low + 1] <= first:
                low += 1
            pieces = tuple(_pieces(starts, low, first, behind))
            taken = digests[pieces[0][0] : pieces[-1][0] + 1]
            found.append(Segment(number, (first, behind), pieces, _joined(taken)))
    return tuple(found)


def _pieces(
    starts: Sequence[int], low: int, first: int, behind: int
) -> Iterator[tuple[int, int, int]]:
    """Minibatches from ``low`` on with rows in ``first .. behind``, and which rows."""
    for index in range(low, len(starts) - 1):
        start, stop = starts[index], starts[index + 1]
        if start >= behind:
            return
        if stop > start:
            yield index, max(first, start) - start, min(behind, stop) - start


def _joined(digests: Sequence[str]) -> str:
    if len(digests) < 2:
        return "".join(digests)
    return hashlib.blake2b(" ".join(digests).encode(), digest_size=16).hexdigest()


def site_bytes(plan: RunPlan, site: Site) -> int:
    """Bytes of all results of one site, before compression."""
    values = math.prod(site.shape)
    if site.batch_axis is not None:
        values = values * plan.num_obs // max(1, plan.batch_sizes[0])
    width = site.dtype.itemsize
    summary_width = width if site.dtype.is_floating_point or site.dtype == torch.bool else 8
    return values * (
        len(plan.summaries) * summary_width + plan.return_samples * plan.num_samples * width
    )
