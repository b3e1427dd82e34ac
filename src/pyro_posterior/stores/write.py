"""Results on disk: a Zarr store, written segment by segment, that an interrupted run can go on with."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.contracts import Finished, RunPlan, SegmentResult, Site
from pyro_posterior.errors import StoreError
from pyro_posterior.files import sync_folder
from pyro_posterior.stores import locks
from pyro_posterior.stores.array import Owned
from pyro_posterior.stores.arrays import Arrays
from pyro_posterior.stores.background import Background
from pyro_posterior.stores.closing import close, is_closed
from pyro_posterior.stores.files import explained, read_inside
from pyro_posterior.stores.header import METADATA, Header
from pyro_posterior.stores.marks import (
    FOLDER,
    Mark,
    find_mark,
    read_mark,
    read_partials,
    write_mark,
    write_partials,
)
from pyro_posterior.stores.parts import remove_leftovers
from pyro_posterior.stores.pieces import Pieces
from pyro_posterior.stores.read import read_store

logger = logging.getLogger(__name__)

#: Segments of more bytes are written while nothing else is drawn, so that memory holds one of them.
BESIDE_BYTES = 200_000_000


class ZarrStore:
    """A run's store. A segment is written while the next one is drawn, and marked last.

    Any number of processes may write to it: a segment that is there already is left alone, and
    whoever finds that the store belongs to another run stops.
    """

    def __init__(self, path: Path, header: Header, versions: Mapping[str, str]) -> None:
        self.path = path
        self._versions = versions
        self._header = header
        self._arrays = Arrays(header)
        self._data = dict(zip(header.segments, header.data, strict=True))
        self._sites = {site.name: site for site in header.plan.sites}
        self._owned = Owned(path, header.owner)
        self._complete = {number for number in header.segments if self._is_complete(number)}
        self._background = Background()
        self._pieces = Pieces(path, header)

    def __enter__(self) -> ZarrStore:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being written, and end the threads."""
        try:
            self._background.close()
        finally:
            self._pieces.close()

    # ------------------------------------------------------------------------------- what is there

    @property
    def plan(self) -> RunPlan:
        """The plan in the header."""
        return self._header.plan

    def missing(self) -> frozenset[int]:
        """Numbers of the segments that are still to be written, whoever wrote the others."""
        self._background.wait()
        rest = frozenset(self._header.segments) - self._complete
        self._complete |= {number for number in rest if self._is_complete(number)}
        return frozenset(self._header.segments) - self._complete

    def describe(self) -> str:
        """What is kept, and how to go on; what is being written is waited for."""
        with contextlib.suppress(Exception):  # an error of its own, which the caller has or gets
            self._background.wait()
        return self.state()

    def state(self) -> str:
        """How much of the run is there, in words; empty where the store is another run's now."""
        try:
            self._owned.check()
        except StoreError:
            return ""
        complete, all_ = len(self._complete), len(self._header.segments)
        if complete == all_:
            return f"the store {str(self.path)!r} is complete"
        return (
            f"in the store {str(self.path)!r} {complete} of {all_} segments are complete and kept; "
            "the same call goes on with the rest"
        )

    def partials(self, reduction: str) -> Iterator[Mapping[str, np.ndarray]]:
        """The partial results of one reduction, in the order of segments.

        Raises
        ------
        StoreError
            A segment is missing or damaged.
        """
        self._background.wait()
        for number in self._header.segments:
            mark = read_mark(self.path, self._header, number)
            found = read_partials(self.path, mark, reduction)
            if found is not None:
                yield found

    def _is_complete(self, number: int) -> bool:
        """Whether a segment is marked and none of its chunks is gone."""
        mark = find_mark(self.path, self._header, number)
        if mark is None or mark.data != self._data[number]:
            return False
        if is_closed(self.path):
            return True  # reading it says what is wrong
        for result, arrays in mark.arrays.items():
            for name, digests in arrays.items():
                site = self._sites.get(name)
                if site is None or result not in self._header.plan.result_names:
                    return False
                if not self._chunks_are_there(number, result, site, digests):
                    return False
        return True

    def _chunks_are_there(
        self, number: int, result: str, site: Site, digests: tuple[str, ...]
    ) -> bool:
        folder = self._arrays.folders[site.name]
        try:
            content = read_inside(self.path, result, folder, METADATA)
            form = self._arrays.stored_form(self.path, result, site, content)
        except StoreError:
            return False
        axis = self._arrays.axis(site, len(form.shape))
        rows = self._header.span(number, site)
        if rows is None:
            return False
        positions = list(form.positions(axis, rows))
        base = os.path.join(self.path, result, folder, "c")
        files = (os.path.join(base, *map(str, position)) for position in positions)
        return len(digests) == 1 + len(positions) and all(map(os.path.isfile, files))

    # ------------------------------------------------------------------------------------- writing

    def write(self, result: SegmentResult) -> None:
        """Write a segment, beside what comes next if it is not too large.

        Raises
        ------
        StoreError
            The store was taken over by another run, holds other data, or cannot be written; an
            error of the segment before comes up here too.
        """
        number = result.segment.number
        if self._header.segments.get(number) != tuple(result.segment.rows):
            raise StoreError(f"the store {str(self.path)!r} has no such segment: {result.segment}")
        arrays = [array for held in result.results.values() for array in held.values()]
        if sum(array.nbytes for array in arrays) > BESIDE_BYTES:
            self._background.wait()
            self._write(result)
        else:
            self._background.do(self._write, result)

    def _write(self, result: SegmentResult) -> None:
        number = result.segment.number
        self._owned.check()
        with explained(self.path, "write to", self.state), locks.one_segment(self.path, number):
            self._owned.check()
            mark = find_mark(self.path, self._header, number)
            if mark is None or not self._is_complete(number):
                digests = self._pieces.write(number, result.results)
                mark = Mark(
                    number=number,
                    owner=self._header.owner,
                    data=self._data[number],
                    arrays=digests,
                    nonfinite=result.nonfinite,
                    tiers=result.tiers,
                    versions=self._versions,
                    partials=write_partials(self.path, number, result.partials),
                )
                self._owned.check()
                write_mark(self.path, mark)
                sync_folder(self.path / FOLDER)
        self._complete.add(number)

    # --------------------------------------------------------------------------------------- ending

    def finish(self, record: Callable[[], Mapping[str, Any]]) -> Finished:
        """Close the store, unless it is closed, and read the results back.

        Raises
        ------
        StoreError
            Segments are missing (another process has them), or what was written cannot be read.
        """
        self._background.wait()
        if not is_closed(self.path):
            self._owned.check()
            with explained(self.path, "close", self.state), locks.whole_store(self.path) as alone:
                self._owned.check()
                if self.missing():
                    raise StoreError(f"not everything is there yet: {self.state()}")
                if not is_closed(self.path):
                    if alone:
                        remove_leftovers(self.path)
                    close(self.path, self._header, record())
        self._owned.check()
        stored = read_store(self.path)
        return Finished(stored.results, stored.nonfinite, stored.record, stored.partials)
