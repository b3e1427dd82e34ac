"""Segments: every row once, whole minibatches where these are regular."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.segments import FEWEST_SEGMENTS, SEGMENT_BYTES, cut, segment_rows, with_columns


def _plan(sizes: list[int], values: int = 20, draws: int = 0) -> RunPlan:
    site = Site("z", "latent", "local", (sizes[0], values), torch.float32, -2)
    return RunPlan((site,), "obs", max(draws, 2), 0, tuple(sizes), ("m",), draws > 0, "loop")


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200).filter(any), st.integers(1, 60))
def test_segments_cover_every_row_of_every_minibatch_once_and_in_order(sizes, rows):
    segments = cut(_plan(sizes), rows)
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    assert segments[0].rows[0] == 0
    assert segments[-1].rows[1] == sum(sizes)
    assert all(a.rows[1] == b.rows[0] for a, b in itertools.pairwise(segments))
    assert all(segment.length == rows for segment in segments[:-1])
    seen = [
        (index, row)
        for segment in segments
        for index, first, behind in segment.pieces
        for row in range(first, behind)
    ]
    assert seen == [(index, row) for index, size in enumerate(sizes) for row in range(size)]
    for segment in segments:
        assert sum(behind - first for _, first, behind in segment.pieces) == segment.length


@given(st.integers(1, 300), st.integers(1, 2000), st.integers(0, 1))
def test_regular_minibatches_lie_in_one_segment_each(size, count, rest):
    plan = _plan([size] * count + [1] * rest)
    segments = cut(plan, segment_rows(plan))
    indices = [index for segment in segments for index, _, _ in segment.pieces]
    assert indices == list(range(count + rest))
    assert len(segments) <= FEWEST_SEGMENTS + 1


def test_segments_are_tens_of_megabytes_and_one_minibatch_at_least():
    rows = segment_rows(_plan([128] * 8000, draws=1000))
    assert 0.5 * SEGMENT_BYTES < rows * 20 * 1001 * 4 <= SEGMENT_BYTES
    assert segment_rows(_plan([1000] * 10, values=2000, draws=1000)) == 1000


def test_a_segment_tells_which_data_it_was_drawn_from():
    plan = _plan([4, 4, 4])
    one = cut(plan, 6, ["a", "b", "c"])
    other = cut(plan, 6, ["a", "b", "x"])
    assert one[0].data_digest == other[0].data_digest
    assert one[1].data_digest != other[1].data_digest
    assert cut(plan, 4, ["a", "b", "c"])[1].data_digest == "b"


@given(
    st.lists(st.integers(1, 40), max_size=3),
    st.integers(1, 50),
    st.sampled_from([1, 100, 10_000]),
)
def test_columns_of_a_global_site_are_in_one_segment_each(shape, draws, room):
    site = Site("g", "latent", "global", tuple(shape), torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_posterior.segments.COLUMN_BYTES", room)
        (site,) = with_columns([site], draws)
    small = math.prod(shape) * 4 * draws <= room or max(shape, default=1) == 1
    assert (site.columns == 0) == small
    assert with_columns([site], draws, ["g"])[0].columns == 0
    plan = RunPlan((site,), None, draws, 0, (1,), ("m",), False, "loop")
    spans = [site.span(segment.number, segment.rows) for segment in cut(plan, 0)]
    assert None not in spans
    assert site.span(len(spans), (0, 0)) is None
    if small:
        assert spans == [(0, 1)]
    else:
        columns = [column for low, behind in spans for column in range(low, behind)]
        assert columns == list(range(max(shape)))
