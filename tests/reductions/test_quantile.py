"""`Quantile` called as an ordinary function."""

from __future__ import annotations

import numpy as np
import pytest

from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.quantile import Quantile


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_is_numpys_quantile(axis):
    x = np.random.default_rng(0).normal(size=(11, 4, 3)).astype(np.float32)
    got = Quantile(0.3)(x, axis=axis)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.quantile(x, 0.3, axis=axis))


def test_booleans_count_as_numbers():
    np.testing.assert_allclose(Quantile(0.75)([False, True, True]), 1.0)
    np.testing.assert_allclose(Quantile(0.25)([False, True, True]), 0.5)


@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan, "0.5", None, True, [0.1, 0.9]])
def test_bad_q(q):
    with pytest.raises(RequestError, match=r"Quantile\(q\) must be a number between 0 and 1"):
        Quantile(q)


def test_compares_by_value():
    assert Quantile(0.5) == Quantile(np.float64(0.5))
    assert hash(Quantile(0.5)) == hash(Quantile(0.5))
    assert Quantile(1).q == 1.0
