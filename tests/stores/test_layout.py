"""Chunks: none lies in two segments."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_posterior.stores.layout import (
    CHUNK_BYTES,
    array_name,
    chunk_shape,
)


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
