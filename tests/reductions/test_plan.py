"""Summaries of one site against NumPy: dtypes, shapes, strides, devices, names and errors."""

from __future__ import annotations

import functools
import threading
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyro_posterior.errors import RequestError
from pyro_posterior.reductions import columns as columns_module
from pyro_posterior.reductions.device import summarise_on_device
from pyro_posterior.reductions.plan import plan_summaries
from pyro_posterior.reductions.quantile import Quantile

FUNCTIONS = {
    "mean": np.mean,
    "std": np.std,
    "var": np.var,
    "sum": np.sum,
    "min": np.min,
    "amin": np.amin,
    "max": np.max,
    "amax": np.amax,
    "median": np.median,
    "q": functools.partial(np.quantile, q=0.05),
    "p": functools.partial(np.percentile, q=97),
    "p_float": functools.partial(np.percentile, q=12.5),
    "Q": Quantile(0.95),
    "Q0": Quantile(0.0),
    "Q1": Quantile(1.0),
}
EARLIER_NUMPY = np.lib.NumpyVersion(np.__version__) < "2.4.0"
QUANTILES = ("q", "p", "p_float", "Q", "Q0", "Q1")
DTYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)
SHAPES = (
    (1,),
    (1, 4),
    (2,),
    (2, 5),
    (3, 2, 1, 3),
    (100, 0),
    (7, 3, 0, 2),
    (101, 65),
    (257, 2, 3, 5),
)


def make_draws(shape, dtype, seed=0):
    """Draws of moderate size, so that half precision does not overflow."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if dtype == torch.bool:
        return x > 0
    if not dtype.is_floating_point:
        x = 20 * x
        return (x.abs() if dtype == torch.uint8 else x).to(dtype)
    return x.to(dtype)


def expected(draws, functions=FUNCTIONS):
    """What NumPy gives; booleans as float64 for quantiles, half precision computed in float32."""
    halves = (torch.float16, torch.bfloat16)
    x = (draws.float() if draws.dtype in halves else draws).numpy()
    answers = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, fun in functions.items():
            as_float = x.dtype == bool and name in QUANTILES
            answers[f"post_sample_{name}"] = np.asarray(
                fun(x.astype(np.float64) if as_float else x, axis=0)
            )
    if draws.dtype == torch.float16:
        answers = {name: answer.astype(np.float16) for name, answer in answers.items()}
    return answers


def assert_same(values, answers):
    assert list(values) == list(answers)
    for name, answer in answers.items():
        got = values[name]
        assert isinstance(got, np.ndarray)
        assert got.dtype == answer.dtype, name
        assert got.shape == answer.shape, name
        if answer.dtype.kind != "f":
            np.testing.assert_array_equal(got, answer, err_msg=name)
            continue
        # NumPy's own sums of float32 over axis 0 go row by row: allow for its error, too.
        tolerance = {2: 4e-3, 4: 4e-6, 8: 1e-12}[answer.dtype.itemsize]
        scale = 100 * tolerance if name == "post_sample_sum" else tolerance
        np.testing.assert_allclose(got, answer, rtol=tolerance, atol=scale, err_msg=name)


def on_device(draws, functions):
    """The path of accelerators, forced on a CPU tensor."""
    plan = plan_summaries(functions)
    known = [statistic for statistic in plan.statistics if statistic is not None]
    assert len(known) == len(plan.names)
    flat = draws.reshape(len(draws), draws[0].numel())
    results, nonfinite = summarise_on_device(flat, known)
    values = zip(plan.names, results, strict=True)
    return {name: value.reshape(draws.shape[1:]) for name, value in values}, nonfinite


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_with_numpy(shape, dtype):
    draws = make_draws(shape, dtype)
    kept = draws.clone()
    summarised = plan_summaries(FUNCTIONS).compute(draws)
    assert_same(summarised.values, expected(draws))
    assert summarised.nonfinite == 0
    assert torch.equal(draws, kept)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_device_path_agrees_with_numpy(shape, dtype):
    draws = make_draws(shape, dtype)
    values, nonfinite = on_device(draws, FUNCTIONS)
    assert_same(values, expected(draws))
    assert nonfinite == 0


def test_device_path_in_several_blocks(monkeypatch):
    monkeypatch.setattr("pyro_posterior.reductions.device.DEVICE_BLOCK_VALUES", 11 * 4)
    draws = make_draws((11, 3, 7), torch.float64)
    draws[3, 1, 2] = torch.nan
    values, nonfinite = on_device(draws, FUNCTIONS)
    assert_same(values, expected(draws))
    assert nonfinite == 1


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64], ids=str)
def test_wide_unsigned_integers(dtype):
    draws = (make_draws((11, 4), torch.float64).abs() * 1000).to(dtype)
    assert_same(plan_summaries(FUNCTIONS).compute(draws).values, expected(draws))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.bool], ids=str)
def test_each_summary_alone_has_the_bits_it_has_among_others(name, dtype):
    draws = make_draws((53, 70), dtype)
    alone = plan_summaries({name: FUNCTIONS[name]}).compute(draws).values
    among = plan_summaries(FUNCTIONS).compute(draws).values
    np.testing.assert_array_equal(alone[f"post_sample_{name}"], among[f"post_sample_{name}"])


@pytest.mark.parametrize("off", [-1, 0, 1])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_sizes_around_block_boundaries(blocks, off):
    width = columns_module._block_width(600, 10**6, 1)
    draws = make_draws((600, blocks * width + off), torch.float32)
    assert_same(plan_summaries(None).compute(draws).values, expected(draws, DEFAULTS))


DEFAULTS = {
    "means": np.mean,
    "stds": np.std,
    "q05": functools.partial(np.quantile, q=0.05),
    "q95": functools.partial(np.quantile, q=0.95),
}


def test_default_summaries():
    plan = plan_summaries(None)
    assert plan.names == (
        "post_sample_means",
        "post_sample_stds",
        "post_sample_q05",
        "post_sample_q95",
    )
    draws = make_draws((40, 3, 2), torch.float32)
    assert_same(plan.compute(draws).values, expected(draws, DEFAULTS))


def test_quantiles_have_the_bits_of_numpy():
    for dtype in (torch.float32, torch.float64):
        draws = make_draws((999, 33), dtype)
        for q in (0.0, 0.05, 0.31, 0.5, 0.95, 0.999, 1.0):
            got = plan_summaries({"q": Quantile(q)}).compute(draws).values["post_sample_q"]
            want = np.quantile(draws.numpy(), q, axis=0)
            if EARLIER_NUMPY:  # it interpolates in another order
                np.testing.assert_allclose(got, want, rtol=4 * torch.finfo(dtype).eps)
            else:
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32], ids=str)
def test_bits_do_not_depend_on_workers(dtype):
    draws = make_draws((501, 1777), dtype)
    plan = plan_summaries(FUNCTIONS)
    one, two = plan.compute(draws, workers=1).values, plan.compute(draws, workers=2).values
    for name in plan.names:
        np.testing.assert_array_equal(one[name], two[name])


def test_workers_are_threads_that_share_the_blocks(monkeypatch):
    # The first two blocks wait for each other: only two threads get past.
    barrier = threading.Barrier(2, timeout=30)
    load = columns_module._Block._load
    first = {0: None, 128: None}

    def waiting(block, start, stop):
        if start in first:
            first.pop(start)
            barrier.wait()
        return load(block, start, stop)

    monkeypatch.setattr(columns_module._Block, "_load", waiting)
    monkeypatch.setattr(columns_module, "_block_width", lambda *args: 128)
    plan_summaries(None).compute(make_draws((500, 2000), torch.float32), workers=2)
    assert not first


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("path", ["cpu", "device"])
def test_nan_and_infinity(path, dtype):
    draws = make_draws((9, 9), dtype)
    draws[4, 1] = torch.nan
    draws[0, 2] = torch.inf
    draws[8, 3] = -torch.inf
    draws[2, 4], draws[3, 4] = torch.inf, -torch.inf
    draws[5, 5], draws[6, 5] = torch.inf, torch.nan
    draws[:, 6] = torch.inf
    draws[:, 7] = torch.nan
    count = 1 + 1 + 1 + 2 + 2 + 9 + 9
    if path == "cpu":
        summarised = plan_summaries(FUNCTIONS).compute(draws)
        values, nonfinite = summarised.values, summarised.nonfinite
    else:
        values, nonfinite = on_device(draws, FUNCTIONS)
    assert_same(values, expected(draws))
    assert nonfinite == count


def test_a_sum_that_overflows_is_no_nonfinite_draw():
    draws = torch.full((4, 2), 3e38)
    summarised = plan_summaries({"sum": np.sum}).compute(draws)
    assert summarised.nonfinite == 0
    assert np.isinf(summarised.values["post_sample_sum"]).all()


def test_nonfinite_is_counted_for_own_functions_alone():
    draws = make_draws((6, 300), torch.float32)
    draws[2, 10:14] = torch.nan
    assert plan_summaries({"own": lambda x, axis: x.sum(axis)}).compute(draws).nonfinite == 4


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_expanded_draws(dtype):
    draws = make_draws((1, 3, 5), dtype).expand(40, 3, 5)
    assert draws.stride(0) == 0
    values = plan_summaries(FUNCTIONS).compute(draws).values
    assert_same(values, expected(draws.contiguous()))
    np.testing.assert_array_equal(values["post_sample_std"], 0)


def test_expanded_draws_with_nan():
    row = torch.tensor([1.5, torch.nan, -2.0])
    summarised = plan_summaries(None).compute(row.expand(1000, 3))
    assert summarised.nonfinite == 1000
    assert_same(summarised.values, expected(row.repeat(1000, 1), DEFAULTS))


def test_expanded_draws_are_not_copied(monkeypatch):
    rows = []
    summarise = columns_module.summarise_columns

    def noting(flat, *args):
        rows.append(flat.untyped_storage().nbytes())
        return summarise(flat, *args)

    monkeypatch.setattr("pyro_posterior.reductions.plan.summarise_columns", noting)
    given_arrays = []

    def own(x, axis):
        given_arrays.append(x)
        return x[0]

    draws = torch.arange(6.0).reshape(1, 2, 3).expand(10**6, 2, 3)
    plan_summaries({"m": np.mean, "own": own}).compute(draws)
    assert rows == [6 * 4]
    assert given_arrays[0].strides[0] == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.permute(2, 0, 1),
        lambda x: x.permute(1, 2, 0),
        lambda x: x.permute(1, 0, 2),
        lambda x: x[::2, 1:, ::3],
        lambda x: x[:, :, :1].expand(-1, -1, 6),
        lambda x: x.requires_grad_(),
        lambda x: torch.view_as_complex(torch.stack([x, x], -1)).conj().imag,
    ],
    ids=["last", "turned", "swapped", "strided", "expanded site", "grad", "negated"],
)
def test_tensors_that_are_not_plain(make):
    draws = make(make_draws((120, 70, 90), torch.float64))
    answers = expected(draws.detach().resolve_neg())
    assert_same(plan_summaries(FUNCTIONS).compute(draws).values, answers)


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=9),
        elements=st.floats(-1e3, 1e3, width=32),
    ),
    st.floats(0, 1),
)
@settings(max_examples=100, deadline=None)
def test_any_draws(x, q):
    functions = FUNCTIONS | {"any": Quantile(q)}
    draws = torch.from_numpy(x)
    answers = {f"post_sample_{k}": np.asarray(f(x, axis=0)) for k, f in functions.items()}
    for values in (plan_summaries(functions).compute(draws).values, on_device(draws, functions)[0]):
        for name, answer in answers.items():
            assert values[name].dtype == answer.dtype
            eps = np.finfo(x.dtype).eps
            scale = 1e3 * 40 * eps
            if name == "post_sample_var":
                scale *= 1e3
            if name == "post_sample_std":
                scale = 1e3 * 1e3 * np.sqrt(eps)  # NumPy's sd of equal draws is not quite 0
                scale = min(scale, 1.0)
            np.testing.assert_allclose(values[name], answer, rtol=100 * eps, atol=scale)


def test_sd_around_a_large_mean_is_right():
    # Whole numbers are exact in float32, so the answer is known: draws m - 1 and m + 1.
    draws = torch.tensor([2.0**23 - 1, 2.0**23 + 1]).repeat_interleave(500)[:, None]
    for values in (
        plan_summaries(None).compute(draws).values,
        on_device(draws, {"means": np.mean, "stds": np.std})[0],
    ):
        np.testing.assert_allclose(values["post_sample_stds"], 1.0, rtol=1e-6)


def test_sd_of_equal_draws_is_zero():
    draws = torch.full((777, 5), 0.1)
    assert (plan_summaries(None).compute(draws).values["post_sample_stds"] == 0).all()


def test_mean_and_sd_of_many_draws():
    draws = make_draws((200_000, 2), torch.float32) + 100
    values = plan_summaries(None).compute(draws).values
    exact = draws.double()
    np.testing.assert_allclose(values["post_sample_means"], exact.mean(0), rtol=2e-7)
    np.testing.assert_allclose(values["post_sample_stds"], exact.std(0, correction=0), rtol=2e-6)


def test_names_get_the_prefix_once():
    plan = plan_summaries({"std": np.std, "post_sample_mean": np.mean})
    assert plan.names == ("post_sample_std", "post_sample_mean")


def test_the_callers_dict_is_left_alone():
    functions = {"std": np.std, "own": lambda x, axis: x[0]}
    before = dict(functions)
    plan = plan_summaries(functions)
    plan.compute(torch.randn(3, 2))
    assert functions == before
    functions.clear()
    assert len(plan.compute(torch.randn(3, 2)).values) == 2


def test_own_functions_see_all_draws_without_a_copy():
    draws = torch.randn(5, 3, 2)
    seen = []

    def own(x, axis):
        seen.append((x, axis))
        return x.mean(axis=axis)

    values = plan_summaries({"own": own, "again": own}).compute(draws).values
    assert seen[0][0] is seen[1][0]
    assert seen[0][1] == 0
    assert np.shares_memory(seen[0][0], draws.numpy())
    np.testing.assert_array_equal(seen[0][0], draws.numpy())
    np.testing.assert_allclose(values["post_sample_own"], draws.mean(0), rtol=1e-6)


def test_own_functions_cannot_change_the_draws():
    def own(x, axis):
        x -= x.mean(axis=axis)
        return x[0]

    with pytest.raises(ValueError, match="read-only"):
        plan_summaries({"own": own}).compute(torch.randn(4, 2))


def test_results_of_own_functions_may_have_leading_axes():
    draws = torch.randn(5, 3, 2)
    functions = {
        "two": functools.partial(np.quantile, q=[0.1, 0.9]),
        "same": lambda x, axis: x,
        "one": lambda x, axis: x.sum(axis=axis, keepdims=True),
    }
    values = plan_summaries(functions).compute(draws).values
    assert values["post_sample_two"].shape == (2, 3, 2)
    assert values["post_sample_one"].shape == (1, 3, 2)
    np.testing.assert_array_equal(values["post_sample_same"], draws.numpy())
    assert not np.may_share_memory(values["post_sample_same"], draws.numpy())


@pytest.mark.parametrize("q", [0, 1])
def test_integer_q_stays_with_numpy(q):
    draws = torch.arange(12).reshape(4, 3)
    fun = functools.partial(np.quantile, q=q)
    got = plan_summaries({"q": fun}).compute(draws).values["post_sample_q"]
    answer = fun(draws.numpy(), axis=0)
    assert got.dtype == answer.dtype
    np.testing.assert_array_equal(got, answer)


def test_partial_with_other_arguments_is_called_as_it_is():
    draws = make_draws((12, 3), torch.float64)
    functions = {
        "std": functools.partial(np.std, ddof=1),
        "q": functools.partial(np.quantile, q=0.3, method="lower"),
    }
    assert_same(plan_summaries(functions).compute(draws).values, expected(draws, functions))


def test_complex_draws_go_to_the_functions():
    draws = torch.randn(8, 3, dtype=torch.complex64)
    values = plan_summaries({"m": np.mean}).compute(draws).values
    np.testing.assert_allclose(values["post_sample_m"], draws.numpy().mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("fun", "shape"),
    [
        (lambda x, axis: x.sum(), r"shape \(\)"),
        (lambda x, axis: x.sum(axis=-1), r"shape \(5, 3\)"),
        (lambda x, axis: np.moveaxis(x, 0, -1), r"shape \(3, 2, 5\)"),
        (lambda x, axis: None, "Python objects"),
    ],
)
def test_results_of_another_shape_are_refused(fun, shape):
    with pytest.raises(RequestError, match=rf"'post_sample_own' gave .*{shape}.*\(3, 2\)"):
        plan_summaries({"own": fun}).compute(torch.randn(5, 3, 2))


def test_errors_of_own_functions_pass_with_a_note():
    def own(x, axis):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        plan_summaries({"own": own}).compute(torch.randn(5, 3))
    assert any("'post_sample_own'" in note and "(5, 3)" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({}, "at least one entry"),
        ([np.mean], "has the entry"),
        ([], "must be a list of names"),
        (3, "must be a list of names"),
        (["mean", "average"], "'average', which is no summary. There are 'mean', 'sd'"),
        (["q5"], "no summary"),
        (["hdi0"], "no summary"),
        (["prob>nan"], "no summary"),
        (["mean", {"mean": np.mean}], "name the result"),
        ({"m": 3}, r"summary_fun\['m'\] must be a function"),
        ({1: np.mean}, "non-empty strings"),
        ({"": np.mean}, "non-empty strings"),
        ({"m": np.mean, "post_sample_m": np.std}, "'post_sample_m'"),
        ({"q": functools.partial(np.quantile, q=1.5)}, "'post_sample_q' must be a number between"),
        ({"q": functools.partial(np.percentile, q=101)}, "percentage between 0 and 100"),
        ({"q": functools.partial(np.percentile, q=np.nan)}, "percentage between 0 and 100"),
    ],
)
def test_bad_requests(functions, message):
    with pytest.raises(RequestError, match=message):
        plan_summaries(functions)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_no_draws(shape):
    with pytest.raises(RequestError, match="no draws"):
        plan_summaries(None).compute(torch.empty(shape))
