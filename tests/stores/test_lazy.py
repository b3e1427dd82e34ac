"""Arrays on disk against NumPy's: every index, reductions and arithmetic, one piece at a time."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyro_posterior.stores import lazy
from pyro_posterior.stores.array import StoredArray
from pyro_posterior.stores.files import write_inside
from pyro_posterior.stores.form import Form
from pyro_posterior.stores.sealed import digest_of

pytest.importorskip("zarr")

SHAPES = [((7, 10, 3), (3, 4, 3)), ((5,), (2,)), ((), ()), ((4, 0), (4, 1)), ((6, 9), (6, 2))]
rng = np.random.default_rng(0)


def stored(folder, values, chunks):
    form = Form(values.shape, values.dtype, chunks, tuple("abcd"[: values.ndim]))
    digests = {}
    for position in form.positions():
        at = tuple(slice(i * c, i * c + c) for i, c in zip(position, chunks, strict=True))
        content = form.encode(values[at])
        write_inside(folder, content, "r", "s", "c", *map(str, position))
        digests[position] = digest_of(content)
    return StoredArray(folder, ("r", "s"), form, digests)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Arrays on disk and in memory."""
    found = []
    for shape, chunks in SHAPES:
        values = rng.normal(size=shape).astype(np.float32)
        found.append((stored(tmp_path_factory.mktemp("a"), values, chunks), values))
    whole = rng.integers(-9, 9, (7, 10, 3))
    found.append((stored(tmp_path_factory.mktemp("a"), whole, (3, 4, 3)), whole))
    return found


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_basic_index(pairs, data):
    array, values = data.draw(st.sampled_from(pairs))
    index = data.draw(hnp.basic_indices(values.shape, allow_newaxis=True, allow_ellipsis=True))
    found = array[index]
    np.testing.assert_array_equal(found, values[index])
    assert np.shape(found) == np.shape(values[index])
    assert np.asarray(found).dtype == values.dtype


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_index_of_whole_numbers(pairs, data):
    array, values = pairs[0]
    index = data.draw(hnp.integer_array_indices(values.shape))
    np.testing.assert_array_equal(array[index], values[index])
    axis = data.draw(st.integers(0, 2))
    one = (slice(None, None, -1),) * axis + (index[axis],)
    np.testing.assert_array_equal(array[one], values[one])


@pytest.mark.parametrize(
    "index",
    [
        [0, -1, 3],
        (slice(None), [1, 1, 0], slice(None, None, -2)),
        (2, slice(8, 1, -3)),
        (Ellipsis, -1),
        ([0, 2], slice(None), [1, 2]),
        (slice(None), [[0, 1], [9, 5]]),
        (np.array([True, False] * 3 + [True]),),
        (slice(1, 3), rng.random(10) > 0.5),
        (slice(1, 3), rng.random((10, 3)) > 0.5),
        (slice(None), []),
        (np.int64(3), np.uint8(2)),
        slice(100, 200),
    ],
)
def test_lists_masks_and_odd_slices(pairs, index):
    array, values = pairs[0]
    np.testing.assert_array_equal(array[index], values[index])


@pytest.mark.parametrize("index", [7, -8, (0, 0, 0, 0), (slice(None), [10]), "a", 1.5])
def test_an_index_outside_is_numpys_error(pairs, index):
    for array in pairs[0]:
        with pytest.raises(IndexError):
            array[index]


@pytest.mark.parametrize("name", ["mean", "std", "var", "sum", "min", "max", "any", "all"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(pairs, name, axis, keepdims, monkeypatch):
    monkeypatch.setattr(lazy, "BLOCK_BYTES", 200)  # several pieces along every axis
    for array, values in (pairs[0], pairs[-1]):
        assert len(list(array.blocks())) > 4
        wanted = getattr(np, name)(values, axis=axis, keepdims=keepdims)
        found = getattr(np, name)(array, axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert np.asarray(found).dtype == wanted.dtype
        assert np.shape(found) == np.shape(wanted)
    np.testing.assert_allclose(pairs[0][0].std(0, ddof=1), pairs[0][1].std(0, ddof=1), rtol=1e-5)


def test_reductions_of_nan_and_of_nothing(pairs, tmp_path):
    values = np.array([[1.0, np.nan], [np.inf, 2.0], [3.0, 4.0]])
    array = stored(tmp_path, values, (2, 2))
    for name in ("min", "max", "sum", "mean"):
        np.testing.assert_array_equal(
            getattr(array, name)(axis=0), getattr(values, name)(axis=0), err_msg=name
        )
    empty, nothing = pairs[3]
    assert empty.sum() == nothing.sum() == 0
    with pytest.raises(ValueError, match="zero-size array"):
        empty.max()


@pytest.mark.parametrize(
    "function",
    [
        lambda a: a + 1,
        lambda a: 2.5 * a - a,
        lambda a: -a / np.arange(1.0, 4.0),
        lambda a: np.exp(a) > np.ones((10, 1)),
        lambda a: abs(a) ** 2,
        lambda a: np.maximum(a, 0).astype(np.float64),
        lambda a: a.astype(np.float32)[None] if isinstance(a, np.ndarray) else a.astype("f4")[None],
        lambda a: operator.and_(a > 0, a < 1),
        lambda a: np.add.reduce(a, axis=0),
        lambda a: np.quantile(a, 0.3, axis=0),
        lambda a: np.concatenate([a, a]),
        lambda a: a @ np.ones(3),
    ],
)
def test_arithmetic(pairs, function):
    array, values = pairs[0]
    found, wanted = function(array), function(values)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.asarray(found).dtype == wanted.dtype
    assert np.shape(found) == wanted.shape
    np.testing.assert_allclose(found[::-1], wanted[::-1], rtol=1e-6)


def test_arithmetic_reads_only_what_is_asked_for(pairs, monkeypatch):
    read, chunk = [], StoredArray._chunk
    monkeypatch.setattr(
        StoredArray, "_chunk", lambda self, at: read.append(at) or chunk(self, at), raising=True
    )
    array, values = pairs[0]
    half = (array * 2 + 1 > 0)[:, 4:8]
    assert {at[1] for at in read} == {1}
    np.testing.assert_array_equal(half, (values * 2 + 1 > 0)[:, 4:8])


def test_it_is_no_truth_value_and_rows_come_one_by_one(pairs):
    array, values = pairs[0]
    with pytest.raises(ValueError, match="ambiguous"):
        bool(array == values)
    for row, wanted in zip(array, values, strict=True):
        np.testing.assert_array_equal(row, wanted)
    assert float(pairs[2][0]) == float(pairs[2][1])
    with pytest.raises(TypeError):
        len(pairs[2][0])


def test_dask_takes_it(pairs):
    dask_array = pytest.importorskip("dask.array")
    array, values = pairs[0]
    lazy_one = dask_array.from_array(array, chunks=array.chunks)
    np.testing.assert_allclose((lazy_one * 2).mean(axis=0).compute(), 2 * values.mean(axis=0), 1e-5)


@pytest.mark.parametrize("kind", ["?", "i1", "u2", "i8", "f2", "f8", "c8", "c16"])
def test_every_kind_of_number_as_zarr_reads_it(tmp_path, kind):
    zarr = pytest.importorskip("zarr")
    values = (rng.normal(size=(5, 7)) * 3).astype(kind)
    array = stored(tmp_path, values, (2, 3))
    np.testing.assert_array_equal(array, values)
    write_inside(tmp_path, array._form.metadata, "r", "s", "zarr.json")
    again = zarr.open_array(tmp_path / "r/s", mode="r")
    np.testing.assert_array_equal(again[:], values)
    assert again.dtype == values.dtype
