"""Where rows lie in a store: segments of whole chunks, so that no chunk is written by two of them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from pyro_posterior.contracts import RunPlan

#: Longest name of a folder; file systems allow 255 bytes.
LONGEST_NAME = 200

#: Bytes that one chunk should not exceed, before compression.
CHUNK_BYTES = 16_000_000


@dataclass(frozen=True)
class Segments:
    """Observations cut into segments of equal length (but the last).

    Segment 0 holds the global sites; segment ``k`` the observations ``(k - 1) * rows`` to
    ``k * rows``. A minibatch may lie in two segments, where sizes are irregular.
    """

    rows: int  # observations per segment
    starts: tuple[int, ...]  # first observation of every minibatch, and the end
    has_globals: bool

    @property
    def num_obs(self) -> int:
        return self.starts[-1]

    @property
    def count(self) -> int:
        """Number of segments, the one of the global sites included, present or not."""
        return 1 + (math.ceil(self.num_obs / self.rows) if self.rows else 0)

    def bounds(self, segment: int) -> tuple[int, int]:
        """First observation of a segment of rows, and the one behind its last."""
        return (segment - 1) * self.rows, min(segment * self.rows, self.num_obs)


def layout_of(plan: RunPlan, rows: int) -> Segments:
    """Where the rows of a run lie, with ``rows`` observations in a segment."""
    starts = tuple(int(start) for start in np.concatenate([[0], np.cumsum(plan.batch_sizes)]))
    return Segments(rows if plan.local_sites else 0, starts, bool(plan.global_sites))


def chunk_shape(
    shape: tuple[int, ...], itemsize: int, axis: int | None, rows: int, draws: bool
) -> tuple[int, ...]:
    """Shape of the chunks of one array.

    Parameters
    ----------
    shape
        Of the whole array.
    axis
        Axis of the observations, None for a global site.
    rows
        Length of one segment along it: chunks are as long, or an even part of it.
    draws
        Whether the first axis is that of draws, which is cut first.
    """
    chunk = [max(1, length) for length in shape]
    if axis is not None:
        chunk[axis] = max(1, min(rows, shape[axis]))

    def parts() -> int:
        return math.ceil(math.prod(chunk) * itemsize / CHUNK_BYTES)

    if draws and parts() > 1:
        chunk[0] = _even(chunk[0], parts())
    if axis is not None and parts() > 1:
        alone = rows >= shape[axis]
        wanted = max(1, chunk[axis] // parts())
        chunk[axis] = wanted if alone else _divisor(rows, wanted)
    for other in range(draws, len(chunk)):
        if other != axis and parts() > 1:
            chunk[other] = _even(chunk[other], parts())
    return tuple(chunk)


def _even(length: int, parts: int) -> int:
    """Length of at least so many parts that are nearly equal: a chunk takes its full room on disk."""
    at_most = max(1, length // parts)
    return math.ceil(length / math.ceil(length / at_most))


def _divisor(number: int, at_most: int) -> int:
    """The largest divisor up to ``at_most``."""
    return next(part for part in range(at_most, 0, -1) if number % part == 0)


def array_name(site: str) -> str:
    """Name of a site's array: the site's own, with what Zarr does not allow percent-encoded.

    A name too long for a folder ends in a digest of the site's; the empty one becomes ``%``.
    """
    name = quote(site, safe="$ +,=@()[]{}!~'")
    if name.startswith("__"):
        name = "%5F" + name[1:]
    if name.startswith(".") or name == "zarr.json":
        name = name.replace(".", "%2E")
    if len(name) > LONGEST_NAME:
        digest = hashlib.blake2b(site.encode(), digest_size=16).hexdigest()
        name = f"{name[: LONGEST_NAME - len(digest) - 1]}%{digest}"
    return name or "%"
