"""Group totals and contrasts, against NumPy on all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_posterior.reductions.contrast import Contrast
from pyro_posterior.reductions.grouped import Grouped, numbered

LABELS = np.array(["b", "a", None, "b", "c", "a", "b", np.nan, "c", "b", "a"], object)


@pytest.mark.parametrize("how", ["sum", "mean"])
@pytest.mark.parametrize("size", [1, 3, 11])
@pytest.mark.parametrize("axis", [-1, -2])
def test_totals(how, size, axis):
    draws = torch.randn(6, *((11, 4) if axis == -2 else (4, 11)))
    names, codes = numbered(LABELS)
    assert names == ("a", "b", "c")
    reduction = Grouped("g", "w", names, codes, how)
    parts, starts = [], range(0, 11, size)
    for first in starts:
        rows = draws.narrow(axis, first, min(size, 11 - first))
        parts.append(reduction.update(None, rows, axis, first))
    got = reduction.finish(parts)
    exact = draws.double().numpy().swapaxes(1, axis)
    for number, name in enumerate(names):
        mine = exact[:, name == LABELS]
        answer = getattr(np, how)(mine, axis=1)
        np.testing.assert_allclose(got[:, number], answer, rtol=1e-13, atol=1e-13)


def test_rows_of_one_segment_add_up():
    names, codes = numbered("xyx")
    reduction = Grouped("g", "w", names, codes, "sum")
    draws = torch.tensor([[1.0, 2.0, 4.0]])
    state = reduction.update(None, draws[:, :1], -1, 0)
    state = reduction.update(state, draws[:, 1:], -1, 1)
    np.testing.assert_array_equal(reduction.finish([state]), [[5.0, 2.0]])


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        (np.array([10, 2, 10]), ("2", "10"), [1, 0, 1]),
        (torch.tensor([10, 2, 10]), ("2", "10"), [1, 0, 1]),
        ([1.5, float("nan"), 0.5], ("0.5", "1.5"), [1, -1, 0]),
        (["x", None, "10"], ("10", "x"), [1, -1, 0]),
    ],
)
def test_groups_are_in_the_order_of_their_labels(labels, names, codes):
    found, numbers = numbered(labels)
    assert found == names
    np.testing.assert_array_equal(numbers, codes)


def test_missing_labels_of_pandas_are_no_group():
    pandas = pytest.importorskip("pandas")
    for labels in (
        pandas.Series(["b", None, "a"], dtype="string"),
        pandas.Series(["b", None, "a"]),
        pandas.array([2, None, 1], dtype="Int64"),
    ):
        np.testing.assert_array_equal(numbered(labels)[1], [1, -1, 0])
    kept = pandas.Categorical(["hi", "lo", None], ["lo", "mid", "hi"])
    assert numbered(kept)[0] == ("lo", "hi")


def test_contrasts():
    rng = np.random.default_rng(0)
    draws = rng.normal([0.0, 1.0, -3.0], 1.0, (50_000, 3))
    contrast = Contrast(draws, delta=1.0, interval=0.9)
    np.testing.assert_allclose(contrast.mean, [0, 1, -3], atol=0.02)
    np.testing.assert_allclose(contrast.sd, 1, atol=0.02)
    np.testing.assert_allclose(contrast.above_zero, [0.5, 0.8413, 0.00135], atol=0.01)
    np.testing.assert_allclose(contrast.beyond_delta, [0.3173, 0.5228, 0.9773], atol=0.01)
    np.testing.assert_allclose(contrast.upper - contrast.lower, 2 * 1.645, atol=0.05)
    np.testing.assert_array_equal(contrast.called(0.5), [False, True, True])
    assert contrast.false_discovery(0.5) == pytest.approx((0.4772 + 0.0227) / 2, abs=0.01)
    assert contrast.false_discovery(0.999) == 0.0


def test_draws_that_are_no_numbers_make_no_probability():
    draws = np.ones((10, 2))
    draws[3, 1] = np.nan
    contrast = Contrast(draws, delta=0.5, interval=0.9)
    np.testing.assert_array_equal(contrast.above_zero, [1.0, np.nan])
    np.testing.assert_array_equal(contrast.beyond_delta, [1.0, np.nan])
    np.testing.assert_array_equal(contrast.called(0.9), [True, False])
    assert contrast.false_discovery(0.9) == 0.0


def test_equal_numbers_are_one_group():
    names, codes = numbered([1, 1.0, 2, True])
    assert names == ("1", "2")
    np.testing.assert_array_equal(codes, [0, 0, 1, 0])
