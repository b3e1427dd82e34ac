import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.made import made
from pyro_posterior.exports import views
from pyro_posterior.exports.pictures import colour_range, make_picture
from pyro_posterior.exports.views import SiteView


def picture(draws, keep=False, **options):
    return make_picture(SiteView(made({"z": draws}, keep=keep), "z"), **options)


@pytest.mark.parametrize(
    ("shape", "keep", "kind"),
    [
        ((), True, "histogram"),
        ((1, 1), True, "histogram"),
        ((), False, "forest"),
        ((40,), False, "forest"),
        ((8, 5), True, "forest"),
        ((41,), False, "profile"),
        ((1, 500, 1), False, "profile"),
        ((6, 7), False, "heat map"),
        ((3, 4, 5), False, "heat map"),
        ((0, 4), False, "empty"),
    ],
)
def test_the_kind_follows_the_size(shape, keep, kind):
    draws = np.random.default_rng(0).normal(size=(9, *shape))
    assert picture(draws, keep).kind == kind


def test_histogram_counts_every_finite_draw():
    draws = np.random.default_rng(0).normal(size=500)
    draws[3] = np.inf
    with np.errstate(invalid="ignore"):
        made_picture = picture(draws, keep=True)
    assert made_picture.counts.sum() == 499
    assert "1 NaN or infinite left out" in made_picture.note


def test_forest_holds_the_numbers_in_order():
    draws = np.random.default_rng(0).normal(size=(100, 2, 3))
    made_picture = picture(draws)
    np.testing.assert_array_equal(made_picture.middle, draws.mean(0).ravel())
    np.testing.assert_array_equal(made_picture.low, np.quantile(draws, 0.05, axis=0).ravel())
    assert made_picture.labels == ("0, 0", "0, 1", "0, 2", "1, 0", "1, 1", "1, 2")


def test_blocks_are_means_of_neighbours():
    draws = np.random.default_rng(0).normal(size=(3, 128, 256))
    made_picture = picture(draws, max_cells=64 * 64)
    assert made_picture.middle.shape == (64, 64)
    expected = draws.mean(0).reshape(64, 2, 64, 4).mean((1, 3))
    np.testing.assert_allclose(made_picture.middle, expected, atol=1e-14)
    assert made_picture.note == (
        "Down-sampled to 64 × 64 blocks, each the mean of 2 × 4 neighbouring values."
    )


@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    cells=st.integers(1, 300),
    piece=st.integers(1, 2000),
)
@settings(max_examples=40, deadline=None)
def test_every_value_counts_once(rows, columns, cells, piece):
    draws = np.random.default_rng(rows * 100 + columns).normal(size=(2, rows, columns))
    before, views._PIECE = views._PIECE, piece
    try:
        made_picture = picture(draws, max_rows=0, max_cells=cells, max_points=cells)
    finally:
        views._PIECE = before
    middle = made_picture.middle.reshape(len(made_picture.row_edges) - 1, -1)
    assert middle.size <= cells
    weights = np.outer(np.diff(made_picture.row_edges), np.diff(made_picture.column_edges))
    assert weights.sum() == rows * columns
    assert weights.min() > 0
    np.testing.assert_allclose((middle * weights).sum(), draws.mean(0).sum(), atol=1e-9)


def test_leading_axes_lie_behind_each_other():
    draws = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    np.testing.assert_allclose(picture(draws).middle, draws.mean(0).reshape(20, 6))


def test_missing_values_are_holes_not_zeros():
    draws = np.ones((3, 50, 4))
    draws[:, 10:12] = np.nan
    made_picture = picture(draws, max_cells=100)
    assert made_picture.middle.shape == (25, 4)
    assert np.isnan(made_picture.middle[5]).all()
    assert (np.delete(made_picture.middle, 5, axis=0) == 1).all()


def test_nothing_finite_is_said():
    made_picture = picture(np.full((3, 50, 4), np.nan))
    assert (made_picture.kind, made_picture.note) == ("empty", "No finite values.")


def test_names_only_where_a_row_is_one_value():
    names = [f"c{i}" for i in range(100)]
    posterior = made(
        {"z": np.zeros((2, 100, 3))}, local=("z",), num_obs=100, coords={"cells": names}
    )
    assert make_picture(SiteView(posterior, "z")).row_labels == tuple(names)
    assert make_picture(SiteView(posterior, "z"), max_cells=30).row_labels == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0], (0.01, 0.99, False)),
        ([-1.0, 3.0], (-2.96, 2.96, True)),
        ([2.0, 2.0], (2.0, 3.0, False)),
        ([np.nan], (0.0, 1.0, False)),
    ],
)
def test_colours(values, expected):
    assert colour_range(np.array(values)) == pytest.approx(expected)
