"""Ranks read off sorted runs are those of the whole row sorted by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_posterior.reductions.ranks import order_statistics


def _ranks_of(count: int) -> list[int]:
    low, high = (count - 1) * 5 // 100, (count - 1) * 95 // 100
    return [low, min(low + 1, count - 1), high, min(high + 1, count - 1)]


def _check(rows: np.ndarray, ranks: list[int]) -> None:
    expected = np.sort(rows, axis=1)
    found = order_statistics(rows.copy(), ranks)
    assert sorted(found) == sorted(set(ranks))
    for rank, values in found.items():
        np.testing.assert_array_equal(values, expected[:, rank], err_msg=f"rank {rank}")


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1", "f2"])
@pytest.mark.parametrize("count", [1, 2, 100, 257, 511, 513, 1000, 1003, 2049, 10_000])
def test_tails(count: int, dtype: str) -> None:
    rows = np.random.default_rng(count).gamma(0.3, 20.0, (7, count)).astype(dtype)
    _check(rows, _ranks_of(count))


@pytest.mark.parametrize("ranks", [[], [0], [999], [0, 999], [500], [20, 500, 980], [5, 6, 7]])
def test_any_ranks(ranks: list[int]) -> None:
    _check(np.random.default_rng(0).standard_normal((5, 1000)), ranks)


@pytest.mark.parametrize(
    "order",
    [
        np.sort,  # all small values in the first run
        lambda rows: np.sort(rows)[:, ::-1],
        np.ones_like,
        lambda rows: np.where(rows > 1.0, np.inf, np.where(rows < -1.0, -np.inf, rows)),
        lambda rows: np.where(rows > 1.9, np.nan, rows),
        lambda rows: np.where(rows > -1.9, np.nan, rows),
        lambda rows: np.floor(rows),
    ],
    ids=["sorted", "falling", "equal", "infinite", "some NaN", "nearly all NaN", "ties"],
)
def test_runs_that_are_not_alike(order: object) -> None:
    rows = np.random.default_rng(1).standard_normal((6, 3001)).astype("f4")
    _check(order(rows), _ranks_of(3001))  # type: ignore[operator]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_arbitrary_rows(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 1400))
    spread = data.draw(st.integers(1, 2**31 - 1))
    half = data.draw(st.integers(0, count))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = rng.integers(0, spread, (3, count)).astype("f8")
    rows[:, :half].sort(axis=1)
    ranks = data.draw(st.lists(st.integers(0, count - 1), max_size=5))
    _check(rows, ranks)
