"""Data of every kind gives the same rows in the same order; what is no data is refused."""

from __future__ import annotations

import functools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
)

from pyro_posterior.errors import RequestError
from toy_models import ConjugateNormal, assert_same, sample

TOY = ConjugateNormal(10)
Y, INDEX = TOY.data
CUTS = [slice(0, 4), slice(4, 8), slice(8, 10)]


class Chunks:
    """A re-iterable of batches that knows no length."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        yield from self.chunks


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(Y, INDEX, strict=True))


def _pairs():
    return [(Y[cut], INDEX[cut]) for cut in CUTS]


KINDS = {
    "tuple": (TOY.data, {"batch_size": 4}),
    "numpy": ((Y.numpy(), INDEX.numpy()), {"batch_size": 4}),
    "dict": ({"y": Y, "index": INDEX}, {"batch_size": 4}),
    "dict of numpy": ({"y": Y.numpy(), "index": INDEX.numpy()}, {"batch_size": np.int64(4)}),
    "list of tuples": (_pairs(), {}),
    "list of lists": ([list(pair) for pair in _pairs()], {}),
    "list of dicts": ([{"y": y, "index": i} for y, i in _pairs()], {}),
    "list of numpy": ([(y.numpy(), i.numpy()) for y, i in _pairs()], {}),
    "loader": (DataLoader(TensorDataset(Y, INDEX), batch_size=4), {}),
    "loader of batches": (
        DataLoader(
            TensorDataset(Y, INDEX),
            batch_size=None,
            sampler=BatchSampler(SequentialSampler(Y), 4, drop_last=False),
        ),
        {},
    ),
    "loader of a stream": (DataLoader(Stream(), batch_size=4), {}),
    "re-iterable": (Chunks(_pairs()), {}),
    "to_args": (
        [{"values": y, "rows": i} for y, i in _pairs()],
        {"to_args": lambda batch: ((batch["values"],), {"index": batch["rows"]})},
    ),
    "to_args of full data": (
        {"values": Y, "rows": INDEX},
        {"batch_size": 4, "to_args": lambda batch: ([batch["values"], batch["rows"]], {})},
    ),
}


@pytest.fixture(scope="module")
def expected():
    data = [(Y[cut], INDEX[cut]) for cut in CUTS]
    return sample(TOY.model, TOY.guide, data, num_samples=9, return_samples=True)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data(kind, expected):
    data, options = KINDS[kind]
    posterior = sample(TOY.model, TOY.guide, data, num_samples=9, return_samples=True, **options)
    assert posterior.plan.batch_sizes == (4, 4, 2)
    assert_same(posterior, expected)


def test_one_tensor():
    posterior = sample(TOY.model, TOY.guide, Y, num_samples=2)
    assert posterior.plan.batch_sizes == (10,)
    assert posterior["post_sample_means"]["z"].shape == (10,)


def test_a_batch_size_larger_than_the_data():
    posterior = sample(TOY.model, TOY.guide, TOY.data, num_samples=2, batch_size=64)
    assert posterior.plan.batch_sizes == (10,)


def test_arguments_that_are_no_tensors_are_passed_on():
    def model(y, power, options):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            pyro.deterministic("d", mu * 0 + y**power + options["add"])

    def guide(y, power, options):
        pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))

    posterior = sample(model, guide, (Y, 2, {"add": 1.0}), batch_size=3, num_samples=2)
    found = posterior["post_sample_means"]["d"]
    np.testing.assert_allclose(found, Y.numpy() ** 2 + 1, rtol=1e-6)


@pytest.mark.parametrize("rows", [[3, 3, 3, 0, 1], [9, 0, 5, 5], [7]])
def test_repeated_rows_keep_their_order(engine, rows):
    """The loader's order is the result's, repeats included."""
    loader = DataLoader(TensorDataset(Y, INDEX), sampler=rows, batch_size=2)
    posterior = sample(
        TOY.model,
        TOY.guide,
        loader,
        num_samples=3,
        return_samples=True,
        return_observed=True,
        engine=engine,
    )
    draws = posterior["posterior_samples"]
    np.testing.assert_array_equal(draws["y"], np.broadcast_to(Y[rows].numpy(), (3, len(rows))))
    np.testing.assert_array_equal(draws["mu_times_y"], draws["mu"][:, None] * Y[rows].numpy())
    assert draws["z"].shape == (3, len(rows))


def test_batches_of_any_sizes(engine):
    cuts = [slice(0, 1), slice(1, 6), slice(6, 7), slice(7, 10)]
    batches = Chunks([(Y[cut], INDEX[cut]) for cut in cuts])
    posterior = sample(
        TOY.model, TOY.guide, batches, num_samples=3, return_samples=True, engine=engine
    )
    assert posterior.plan.batch_sizes == (1, 5, 1, 3)
    draws = posterior["posterior_samples"]
    np.testing.assert_array_equal(draws["mu_times_y"], draws["mu"][:, None] * Y.numpy())


def test_a_tensor_that_is_as_long_as_the_batch_by_chance_is_not_counted(engine):
    def model(design, y, index):
        TOY.model(y * design.sum() ** 0, index)

    def guide(design, y, index):
        TOY.guide(y, index)

    batches = Chunks([(torch.ones(4, 2), y, i) for y, i in _pairs()])
    posterior = sample(model, guide, batches, num_samples=2, engine=engine)
    assert posterior.plan.batch_sizes == (4, 4, 2)


def test_the_data_are_not_kept_or_changed():
    before = Y.clone()
    sample(TOY.model, TOY.guide, TOY.data, num_samples=2, batch_size=4)
    assert torch.equal(Y, before)


# ------------------------------------------------------------------------------------------ bad data


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (iter(_pairs()), {}, "one-shot iterator .*pass the list, DataLoader"),
        ((pair for pair in _pairs()), {}, "one-shot iterator \\(generator\\)"),
        (None, {}, "data is a NoneType: pass a tensor"),
        (7, {}, "data is a int: pass a tensor"),
        ([], {}, "data holds no batches: give at least one observation"),
        (Chunks([]), {}, "data holds no batches"),
        (torch.ones(0), {}, "data holds no observations"),
        ((torch.ones(0), torch.ones(0)), {"batch_size": 3}, "data holds no observations"),
        (_pairs(), {"batch_size": 4}, "batch_size=4 was given, but data is a list that makes"),
        (TOY.data, {"batch_size": 0}, "batch_size must be at least 1, found 0"),
        (TOY.data, {"batch_size": -1}, "batch_size must be at least 1, found -1"),
        (TOY.data, {"batch_size": True}, "batch_size must be at least 1, found True"),
        (TOY.data, {"batch_size": "four"}, "batch_size must be a whole number, found 'four'"),
        (TOY.data, {"batch_size": 2.5}, "batch_size must be a whole number, found 2.5"),
        ((3, 4), {"batch_size": 4}, "data holds no tensor with an axis"),
        ((Y, INDEX[:5]), {"batch_size": 4}, "different first axes \\(\\[5, 10\\]\\)"),
        (
            DataLoader(TensorDataset(Y, INDEX), batch_size=4, shuffle=True),
            {},
            "the DataLoader shuffles.*shuffle=False",
        ),
        (DataLoader(TensorDataset(torch.ones(0))), {}, "data holds no batches"),
        ([1.0, 2.0], {}, "data is a list of float.*pass torch.tensor\\(data\\)"),
        ("text", {}, "data is a str: pass a tensor"),
        ([*_pairs(), (Y[:0], INDEX[:0])], {}, "minibatch 3 holds no observations: leave empty"),
        (TensorDataset(Y, INDEX), {}, "data is a TensorDataset: .*such as a DataLoader"),
    ],
)
def test_bad_data(data, options, message):
    with pytest.raises(RequestError, match=message):
        sample(TOY.model, TOY.guide, data, **options)


@pytest.mark.parametrize("returned", [None, 3, (1, 2, 3), [Y]])
def test_a_to_args_that_does_not_return_a_pair(returned):
    with pytest.raises(
        RequestError, match=r"minibatch 0 .*to_args\(batch\) must return \(args, kw"
    ):
        sample(TOY.model, TOY.guide, _pairs(), to_args=lambda batch: returned)


def test_an_error_inside_to_args_is_shown_as_it_is():
    def to_args(batch):
        raise KeyError("X")

    with pytest.raises(KeyError, match="X") as caught:
        sample(TOY.model, TOY.guide, _pairs(), to_args=to_args)
    assert any("minibatch 0" in note for note in caught.value.__notes__)


def test_a_loader_that_changes_between_passes_is_told():
    class Shrinking(Chunks):
        def __iter__(self):
            self.passes += 1
            yield from self.chunks[: 3 if self.passes < 3 else 2]

    with pytest.raises(RequestError, match=r"data gave 2 minibatches .*had given 3"):
        sample(TOY.model, TOY.guide, Shrinking(_pairs()), num_samples=2)


def test_a_loader_whose_batches_change_size_between_passes_is_told():
    class Changing(Chunks):
        def __iter__(self):
            self.passes += 1
            yield from _pairs() if self.passes < 3 else reversed(_pairs())

    with pytest.raises(RequestError, match="minibatch 0 is not what it was on an earlier pass"):
        sample(TOY.model, TOY.guide, Changing(_pairs()), num_samples=2)


def test_a_loader_that_shuffles_unseen_is_told(engine):
    class Shuffling(Chunks):
        def __iter__(self):
            self.passes += 1
            rows = torch.arange(10).roll(self.passes)
            yield from ((Y[rows[cut]], INDEX[rows[cut]]) for cut in CUTS)

    with pytest.raises(RequestError, match="minibatch 0 is not what it was.*same order"):
        sample(TOY.model, TOY.guide, Shuffling(None), num_samples=2, engine=engine)


def test_a_loader_may_fill_the_same_memory_for_every_batch(engine, expected):
    class Reusing:
        def __iter__(self):
            y, index = torch.empty(4), torch.empty(4, dtype=torch.long)
            for cut in CUTS:
                size = len(Y[cut])
                y[:size], index[:size] = Y[cut], INDEX[cut]
                yield y[:size], index[:size]

    found = sample(
        TOY.model, TOY.guide, Reusing(), num_samples=9, return_samples=True, engine=engine
    )
    for name, draws in expected.draws.items():
        np.testing.assert_allclose(found.draws[name], draws, rtol=1e-5, atol=1e-6)


def test_a_to_args_may_change_the_batch_it_gets(engine):
    """It pops keys and works in place; every call of it gets the batch as it was."""

    def to_args(batch):
        index = batch.pop("index")
        batch["y"] -= 100.0
        return (batch.pop("y"), index), batch

    batches = [{"y": y + 100.0, "index": i} for y, i in _pairs()]
    options = {"num_samples": 3, "return_samples": True, "engine": engine}
    found = sample(TOY.model, TOY.guide, batches, to_args=to_args, **options)
    assert_same(
        found,
        sample(TOY.model, TOY.guide, [(b["y"] - 100, b["index"]) for b in batches], **options),
    )
    full = {"y": Y + 100.0, "index": INDEX}
    before = full["y"].clone()
    found = sample(TOY.model, TOY.guide, full, to_args=to_args, batch_size=4, **options)
    np.testing.assert_allclose(found["posterior_samples"]["z"].shape, (3, 10))
    assert torch.equal(full["y"], before)
    assert sorted(full) == ["index", "y"]


@pytest.mark.parametrize(
    ("model", "guide", "data", "message"),
    [
        (TOY.model, TOY.guide, [(Y, INDEX, Y)], r"the model takes \(y.*and a batch gives \(tensor"),
        (TOY.model, TOY.guide, [{"y": Y, "label": Y}], "label.*give to_args="),
        (TOY.model, lambda y: TOY.guide(y), TOY.data, r"the guide takes \(y\), .*give to_args="),
        (
            lambda y, index, x: None,
            TOY.guide,
            TOY.data,
            "model takes .*missing a required argument",
        ),
        (PyroModule(), TOY.guide, [(Y, INDEX, Y)], "the guide takes"),
        (AutoNormal(TOY.model), TOY.model, TOY.data, "model is a AutoNormal, which is a guide"),
    ],
)
def test_what_model_and_guide_do_not_take(model, guide, data, message, engine):
    with pytest.raises(RequestError, match=message):
        sample(model, guide, data, engine=engine)


def test_functions_that_take_anything_are_called():
    """Decorated ones too, whatever the function within takes."""

    def with_index(function):
        @functools.wraps(function)
        def wrapper(y):
            return function(y, INDEX)

        return wrapper

    @with_index
    def model(y, index):
        TOY.model(y, index)

    def guide(*args):
        TOY.guide(args[0])

    assert sample(model, guide, Y, num_samples=2)["post_sample_means"]["z"].shape == (10,)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("engine", ["auto", "loop", "sliced"])
def test_model_and_guide_exchanged(batch_size, engine):
    """Their draws would come from the prior."""
    with pytest.raises(
        RequestError, match="guide observes 'y' and the model observes nothing.*exch"
    ):
        sample(TOY.guide, TOY.model, TOY.data, engine=engine, batch_size=batch_size)
