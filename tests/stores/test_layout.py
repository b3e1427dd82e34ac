"""Segments and chunks: whole minibatches where they are regular, and no chunk in two segments."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.stores.layout import (
    CHUNK_BYTES,
    FEWEST_SEGMENTS,
    SEGMENT_BYTES,
    array_name,
    chunk_shape,
    plan_segments,
)


def plan(sizes: list[int], values: int = 20, draws: int = 0) -> RunPlan:
    site = Site("z", "latent", "local", (sizes[0], values), torch.float32, -2)
    return RunPlan((site,), "obs", max(draws, 2), 0, tuple(sizes), ("m",), draws > 0, "loop")


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_segments_cover_every_row_once_and_minibatches_know_theirs(sizes):
    segments = plan_segments(plan(sizes))
    bounds = [segments.bounds(number) for number in range(1, segments.count)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == sum(sizes)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
    for index in range(len(sizes)):
        start, stop = segments.starts[index], segments.starts[index + 1]
        hit = [n for n, (low, high) in enumerate(bounds, 1) if low < stop and start < high]
        assert list(segments.of_minibatch(index)) == hit


@given(st.integers(1, 300), st.integers(1, 2000), st.integers(0, 1))
def test_regular_minibatches_lie_in_one_segment_each(size, count, rest):
    segments = plan_segments(plan([size] * count + [1] * rest))
    assert all(len(segments.of_minibatch(index)) == 1 for index in range(count + rest))
    assert segments.count - 1 <= FEWEST_SEGMENTS + 1


def test_segments_are_tens_of_megabytes_and_one_minibatch_at_least():
    many = plan_segments(plan([128] * 8000, draws=1000))
    assert 0.5 * SEGMENT_BYTES < many.rows * 20 * 1001 * 4 <= SEGMENT_BYTES
    wide = plan_segments(plan([1000] * 10, values=2000, draws=1000))
    assert wide.rows == 1000


@given(
    st.integers(1, 3000),
    st.integers(1, 5000),
    st.integers(1, 4000),
    st.integers(1, 1000),
    st.booleans(),
)
def test_no_chunk_lies_in_two_segments(draws, rows, obs, values, with_draws):
    shape = (draws, obs, values) if with_draws else (obs, values)
    axis = len(shape) - 2
    chunk = chunk_shape(shape, 4, axis, rows, with_draws)
    assert rows >= obs or rows % chunk[axis] == 0
    assert math.prod(chunk) * 4 <= CHUNK_BYTES
    assert all(1 <= c <= max(n, 1) for c, n in zip(chunk, shape, strict=True))


def test_draws_are_cut_before_rows():
    assert chunk_shape((1000, 100_000, 20), 4, 1, 500, True) == (250, 500, 20)


@pytest.mark.parametrize(
    ("site", "name"),
    [
        ("w", "w"),
        ("enc$$$fc.weight", "enc$$$fc.weight"),
        ("scope/w", "scope%2Fw"),
        ("a%b", "a%25b"),
        ("__x", "%5F_x"),
        (".", "%2E"),
        ("zarr.json", "zarr%2Ejson"),
        ("", "%"),
    ],
)
def test_names_of_arrays_are_allowed_by_zarr(site, name):
    assert array_name(site) == name


def test_long_names_fit_a_file_system_and_stay_apart():
    names = [array_name("é" * 300 + end) for end in "ab"]
    assert [len(name) for name in names] == [200, 200]
    assert names[0] != names[1]
