"""Drawing segments of a job: the only place where draws are made, whoever asks for them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pyro_posterior.contracts import Block, Results, Segment, SegmentResult, Site
from pyro_posterior.doubts import MissingData
from pyro_posterior.draws import draw_block, workers_of
from pyro_posterior.errors import RequestError
from pyro_posterior.job import Job


def draw_segments(
    job: Job, segments: Iterable[Segment], progressed: Callable[[int], object] = id
) -> Iterator[SegmentResult]:
    """Draw and reduce whole segments, in order.

    A minibatch that several of them need is read and drawn once, its rows cut before they are
    reduced: what a segment gives does not depend on which others are asked for.

    Parameters
    ----------
    job
        What is drawn, and how.
    segments
        Some of ``job.segments``.
    progressed
        Called with the number of values drawn since the last call.
    """
    begun = [_Begun(segment) for segment in sorted(segments, key=lambda segment: segment.number)]
    if not begun:
        return  # and no program is made
    waiting: dict[int, list[tuple[_Begun, int, int]]] = {}
    for one in begun:
        for index, first, behind in one.segment.pieces:
            waiting.setdefault(index, []).append((one, first, behind))
    missing = MissingData()
    with workers_of(job.program) as pool:
        for minibatch in job.minibatches(sorted(waiting)):
            missing.see(minibatch)
            takers = waiting.pop(minibatch.index)
            segments = [one.segment for one, _, _ in takers]
            sites, lacking = _sites_in(job, minibatch.index, segments)
            for site in lacking:
                gaps = torch.full((1,), torch.nan, dtype=site.dtype)
                shape = site.full_shape(job.plan.batch_sizes[minibatch.index])
                for one, first, behind in takers:
                    if one.segment.length:
                        draws = gaps.expand(job.plan.num_samples, *shape)
                        one.take(job, site, draws, first, behind, None)
            with _naming(minibatch.index):
                for part in job.program.parts(minibatch, sites):
                    spans = {site.name: _span_of(site, segments) for site in part.sites}
                    tell = functools.partial(
                        _tell, job, part.sites, spans, minibatch.index, progressed
                    )
                    kept = {site.name: _kept(site, spans[site.name]) for site in part.sites}
                    block, tier = draw_block(part, job.plan.num_samples, pool, tell, kept)
                    _check_rows(job, block, part.sites, minibatch.index)
                    for site in part.sites:
                        draws = block.pop(site.name)
                        if site.name in job.reading.absent:
                            draws = draws.to(site.dtype)  # which has room for NaN
                        for one, first, behind in takers:
                            if site.batch_axis is not None and one.segment.length:
                                one.take(job, site, draws, first, behind, tier)
                            elif span := site.span(one.segment.number, one.segment.rows):
                                low = spans[site.name][0]
                                part_of = site.within(draws.ndim, (span[0] - low, span[1] - low))
                                one.take(job, site, draws[part_of], first, behind, tier)
                        del draws
            for one, first, behind in takers:
                one.passed(behind - first)
            while begun and begun[0].whole:
                yield begun.pop(0).result()
    missing.tell()


def values_of(job: Job, segment: Segment) -> int:
    """Number of values in all draws of a segment."""
    sites = [(site, _span_of(site, [segment])) for site in job.sites_of(segment)]
    return job.plan.num_samples * sum(_values(site, span, segment.length) for site, span in sites)


def _span_of(site: Site, segments: Sequence[Segment]) -> tuple[int, int]:
    """Columns of a global site that some of the segments have: from the first to the last of them."""
    found = (site.span(segment.number, segment.rows) for segment in segments)
    spans = [span for span in found if span is not None]
    return min(low for low, _ in spans), max(behind for _, behind in spans)


def _kept(site: Site, span: tuple[int, int]) -> tuple[slice, ...]:
    """Which of all draws of a site are needed, of any number of rows."""
    return () if site.batch_axis is not None else site.within(1 + len(site.shape), span)


def _values(site: Site, span: tuple[int, int], rows: int) -> int:
    """Number of values in one draw of a site in so many rows, or of a span of its columns."""
    shape = list(site.full_shape(rows))
    if site.batch_axis is None and site.cut_axis is not None:
        shape[site.cut_axis] = span[1] - span[0]
    return math.prod(shape)


def _sites_in(
    job: Job, minibatch: int, segments: Sequence[Segment]
) -> tuple[list[Site], list[Site]]:
    """Sites to draw with a minibatch for some segments, and those of theirs that it lacks."""
    wanted = {site for segment in segments for site in job.sites_of(segment)}
    local = [site for site in job.drawn if site in wanted and site.batch_axis is not None]
    having = {site.name for site in local if job.reading.has(site.name, minibatch)}
    having |= {
        site.name
        for site in wanted
        if site.batch_axis is None and job.reading.home(site.name) == minibatch
    }
    drawn = [site for site in job.drawn if site.name in having]
    return drawn, [site for site in local if site.name not in having]


@dataclass
class _Begun:
    """A segment, as far as it has come."""

    segment: Segment
    results: Results = field(default_factory=dict)
    nonfinite: dict[str, int] = field(default_factory=dict)
    tiers: list[str] = field(default_factory=list)
    partials: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # by reduction
    filled: int = 0  # observations that have come
    pieces: int = 0

    @property
    def whole(self) -> bool:
        return self.pieces == len(self.segment.pieces)

    def take(
        self,
        job: Job,
        site: Site,
        draws: torch.Tensor,
        first: int,
        behind: int,
        tier: str | None,
    ) -> None:
        """Reduce rows ``first .. behind`` of a minibatch's draws of one site, made in ``tier``.

        None: the minibatch lacks the site, and its values are meant not to be finite.
        """
        if tier is not None and tier not in self.tiers:
            self.tiers.append(tier)
        length = None if site.batch_axis is None else self.segment.length
        if length is not None:
            draws = draws[site.at(draws.ndim, first, behind)]
        for reduction in job.reductions:
            if reduction.site == site.name:
                start = self.segment.rows[0] + self.filled
                state = self.partials.get(reduction.name)
                self.partials[reduction.name] = reduction.update(
                    state, draws, site.batch_axis, start
                )
        if site in job.hidden:
            return
        summarised = job.summaries.compute(draws, workers=job.program.workers)
        for name, value in summarised.values.items():
            self._put(site, name, value, behind - first)
        if job.plan.return_samples:
            host = draws.cpu()  # NumPy has no bfloat16
            host = host.float() if host.dtype == torch.bfloat16 else host
            drawn = np.ascontiguousarray(host.numpy())  # fixed values have one row, seen by all
            self._put(site, "posterior_samples", drawn, behind - first)
        if summarised.nonfinite and tier is not None:
            tally = self.nonfinite.get(site.name, 0)
            self.nonfinite[site.name] = tally + summarised.nonfinite

    def _put(self, site: Site, name: str, piece: np.ndarray, rows: int) -> None:
        held = self.results.setdefault(name, {})
        if site.batch_axis is None or rows == self.segment.length:
            held[site.name] = piece
            return
        if site.name not in held:
            shape = list(piece.shape)
            shape[site.batch_axis] = site.rows(self.segment.length)
            held[site.name] = np.empty(shape, piece.dtype)
        whole = held[site.name]
        whole[site.at(whole.ndim, self.filled, self.filled + rows)] = piece

    def passed(self, rows: int) -> None:
        """All that one minibatch has for this segment has been taken."""
        self.pieces += 1
        self.filled += rows

    def result(self) -> SegmentResult:
        return SegmentResult(
            self.segment, self.results, self.nonfinite, tuple(self.tiers), self.partials
        )


@contextlib.contextmanager
def _naming(index: int) -> Iterator[None]:
    """Say in which minibatch an error came."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while drawing minibatch {index} (counted from 0)")
        raise


def _tell(
    job: Job,
    sites: Sequence[Site],
    spans: Mapping[str, tuple[int, int]],
    index: int,
    progressed: Callable[[int], object],
    draws: int,
) -> None:
    size = job.plan.batch_sizes[index]
    progressed(draws * sum(_values(site, spans[site.name], size) for site in sites))


def _check_rows(job: Job, block: Block, sites: Sequence[Site], index: int) -> None:
    """Raise where a minibatch is not as long as it was when the run was planned."""
    for site in sites:
        if site.batch_axis is None:
            continue
        planned = job.plan.batch_sizes[index]
        found = block[site.name].shape[site.batch_axis]
        if found != site.rows(planned):
            raise RequestError(
                f"site {site.name!r} has {found} rows in minibatch {index}, which was counted as "
                f"{planned} observations (so {site.rows(planned)} rows): every pass over the data "
                "must give the same batches"
            )
