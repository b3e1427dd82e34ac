"""Orders in which neighbours are alike."""

import numpy as np
import pytest

from pyro_posterior.exports.arrange import evenly, similar_first


@pytest.mark.parametrize("rows", [30, 400])
def test_rows_of_one_kind_stand_together(rows):
    rng = np.random.default_rng(0)
    kind = rng.integers(2 if rows > 160 else 3, size=rows)
    table = rng.normal(size=(3, 8))[kind] * 5 + rng.normal(size=(rows, 8))
    order = similar_first(table)
    assert sorted(order) == list(range(rows))
    assert np.count_nonzero(np.diff(kind[order])) == len(set(kind)) - 1


def test_missing_values_single_columns_and_few_rows():
    table = np.array([[1.0, np.nan], [2.0, 5.0], [np.inf, 1.0], [0.0, 0.0]])
    assert sorted(similar_first(table)) == [0, 1, 2, 3]
    assert similar_first(np.array([[1.0], [3.0], [2.0]])).tolist() == [1, 2, 0]
    assert similar_first(np.ones((2, 5))).tolist() == [0, 1]
    assert sorted(similar_first(np.zeros((9, 4)))) == list(range(9))


def test_even_places_hold_both_ends():
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    places = evenly(1000, 7)
    assert (places[0], places[-1], len(places)) == (0, 999, 7)
