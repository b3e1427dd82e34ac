"""Row data are what differs between minibatches: a table of the same length is none."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.errors import RequestError
from toy_models import sample

N = 12
X = torch.arange(float(N))
INDEX = torch.arange(N)


def _cut(size, *tensors, table=None, fresh=False):
    """Minibatches of so many rows; the table comes along as one object or as a fresh copy."""
    found = []
    for low in range(0, N, size):
        rows = tuple(x[low : low + size] for x in tensors)
        found.append(rows if table is None else (*rows, table.clone() if fresh else table))
    return found


def _curve(given):
    """A global curve over a table, and one that the table enters beside the rows."""

    def body(x, index, table):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.deterministic("curve", a * table)
        with pyro.plate("cells", N, subsample=index):
            c = pyro.sample("c", dist.Normal(x if given else 0 * x, 0.1))
            pyro.deterministic("by_step", c[:, None] * table, event_dim=1)
            pyro.deterministic("untold", c[:, None] * table)
        pyro.deterministic("outside", c * a)

    return body


@pytest.mark.parametrize("fresh", [False, True], ids=["one table", "fresh tables"])
@pytest.mark.parametrize(("size", "steps"), [(1, 1), (4, 4), (5, 5), (5, 2)])
def test_a_table_is_no_row_data_however_long(draw, size, steps, fresh):
    table = torch.linspace(1, 2, steps)
    batches = _cut(size, X, INDEX, table=table, fresh=fresh)
    posterior = draw(_curve(False), _curve(True), batches)
    found, t = posterior["posterior_samples"], table.numpy()
    np.testing.assert_allclose(found["curve"], found["a"][:, None] * t, rtol=1e-6)
    for name in ("by_step", "untold"):
        np.testing.assert_allclose(found[name], found["c"][:, :, None] * t, rtol=1e-6)
        assert posterior.sites[name].dims == ("cells", None)
    np.testing.assert_allclose(found["outside"], found["c"] * found["a"][:, None], rtol=1e-6)
    np.testing.assert_allclose(found["c"].mean(0), X.numpy(), atol=0.1)
    assert posterior.sites["curve"].scope == "global"
    assert {posterior.sites[name].scope for name in ("c", "by_step", "outside")} == {"local"}


@pytest.mark.parametrize("categories", [1, 3, 4])
def test_a_plate_over_a_table_is_global_and_joint(draw, categories):
    def body(x, index, table):
        with pyro.plate("cats", len(table)):
            c = pyro.sample("c", dist.Normal(table, 1.0))
        with pyro.plate("cells", N, subsample=index):
            pyro.deterministic("total", c.sum() + x)

    posterior = draw(body, body, _cut(4, X, INDEX, table=torch.zeros(categories)))
    found = posterior["posterior_samples"]
    assert found["c"].shape == (40, categories)
    assert posterior.sites["c"].dims == ("cats",)
    total = found["c"].sum(1, keepdims=True) + X.numpy()
    np.testing.assert_allclose(found["total"], total, rtol=1e-5, atol=1e-5)


def test_row_data_with_equal_values_in_all_minibatches(draw):
    """A plate that follows rows of zeros still follows the rows."""

    def body(x, other):
        with pyro.plate("cells", len(x)):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("sum", z + other)

    batches = [(torch.zeros(4), X[low : low + 4]) for low in (0, 4, 8)]
    found = draw(body, body, batches)["posterior_samples"]
    assert found["z"].shape == (40, N)
    np.testing.assert_allclose(found["sum"], found["z"] + X.numpy(), rtol=1e-6)


def test_full_data_that_are_cut_are_row_data_whatever_their_values(engine):
    def body(x, covariate):
        g = pyro.sample("g", dist.Normal(0.0, 1.0))
        pyro.deterministic("shift", g * covariate)
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))

    options = {"num_samples": 4, "engine": engine, "return_samples": True}
    data = (X, torch.ones(N))
    whole = sample(body, body, data, **options)["posterior_samples"]
    parts = sample(body, body, data, batch_size=4, **options)["posterior_samples"]
    np.testing.assert_array_equal(parts["shift"], whole["shift"])
    assert parts["shift"].shape == (4, N)


def test_rows_along_another_axis_than_the_first(draw):
    """Genes by cells: the rows of the plate are the columns of the data."""

    def body(y, index):
        with pyro.plate("genes", 4, dim=-2):
            g = pyro.sample("g", dist.Normal(torch.zeros(4, 1), 1.0))
        with pyro.plate("cells", N, subsample=index, dim=-1):
            c = pyro.sample("c", dist.Normal(y.mean(0), 0.1))
            with pyro.plate("genes_again", 4, dim=-2):
                pyro.sample("y", dist.Normal(g + c, 1.0), obs=y)
        pyro.deterministic("outer", g * c)

    def guide(y, index):
        with pyro.plate("genes", 4, dim=-2):
            pyro.sample("g", dist.Normal(torch.zeros(4, 1), 1.0))
        with pyro.plate("cells", N, subsample=index, dim=-1):
            pyro.sample("c", dist.Normal(y.mean(0), 0.1))

    y = torch.randn(4, N)
    for size in (3, 4, 5):
        batches = [(y[:, low : low + size], INDEX[low : low + size]) for low in range(0, N, size)]
        found = draw(body, guide, batches)["posterior_samples"]
        assert found["outer"].shape == (40, 4, N)
        np.testing.assert_allclose(found["outer"], found["g"] * found["c"][:, None], rtol=1e-6)


def test_two_plates_with_the_same_rows_are_both_of_the_observations(draw):
    def body(x, index):
        with pyro.plate("first", N, subsample=index):
            z = pyro.sample("z", dist.Normal(x, 0.1))
        with pyro.plate("second", N, subsample=index):
            pyro.sample("w", dist.Normal(z, 0.001))

    for size in (1, 4, 5):
        found = draw(body, body, _cut(size, X, INDEX))["posterior_samples"]
        assert found["w"].shape == (40, N)
        np.testing.assert_allclose(found["w"], found["z"], atol=0.01)
        assert abs(np.corrcoef((found["w"] - found["z"]).T)[0, 6]) < 0.6  # not drawn twice


def test_a_second_plate_as_long_as_the_minibatch(draw):
    """Where dims settle the axis nothing is refused: 4 genes, minibatches of 4."""

    def body(x, index):
        with pyro.plate("cells", N, subsample=index, dim=-2), pyro.plate("genes", 4, dim=-1):
            z = pyro.sample("z", dist.Normal(x[:, None].expand(-1, 4), 0.1))
            pyro.deterministic("twice", 2 * z)

    for options in ({}, {"obs_plate": "cells"}):
        posterior = draw(body, body, _cut(4, X, INDEX), **options)
        found = posterior["posterior_samples"]
        np.testing.assert_array_equal(found["twice"], 2 * found["z"])
        assert posterior.sites["z"].dims == ("cells", "genes")
        np.testing.assert_allclose(found["z"].mean(0)[:, 0], X.numpy(), atol=0.1)


def _platewise(x, index):
    with pyro.plate("cells", 12, subsample=index):
        pyro.sample("z", dist.Normal(x, 0.1))


def _plateless(x, index):
    pyro.sample("z", dist.Normal(x, 0.1).to_event(1))


@pytest.mark.parametrize("body", [_platewise, _plateless])
@pytest.mark.parametrize("fresh", [True, False])
def test_minibatches_that_do_not_differ(draw, body, fresh):
    """Whether their tensors hold rows or a table cannot be told: it was called a global once."""
    x, index = torch.zeros(4), torch.arange(4)
    batches = [(x.clone(), index.clone()) if fresh else (x, index) for _ in range(3)]
    with pytest.raises(RequestError, match="3 minibatches have the same values.*obs_plate="):
        draw(body, body, batches)
    if body is _platewise:
        found = draw(body, body, batches, obs_plate="cells")
        assert found["post_sample_means"]["z"].shape == (12,)


@pytest.mark.parametrize("size", [1, 5])
def test_rows_without_a_plate(draw, size):
    """Rows that lie in no plate are told from a table and a global by a run of another size."""

    def body(x, table):
        pyro.sample("g", dist.Normal(7.0, 0.1))
        z = pyro.sample("z", dist.Normal(x, 0.1).to_event(1))
        pyro.sample("wide", dist.Normal(x[:, None].expand(-1, 3), 0.1).to_event(2))
        pyro.sample("table", dist.Normal(table, 0.1).to_event(1))
        pyro.deterministic("both", z[:, None] + table)

    table = torch.tensor([0.0, 10.0, 20.0, 30.0])
    found = draw(body, body, [(x, table.clone()) for x in X.split(size)])
    means = found["post_sample_means"]
    np.testing.assert_allclose(means["g"], 7.0, atol=0.1)
    np.testing.assert_allclose(means["z"], X, atol=0.1)
    np.testing.assert_allclose(means["wide"], X[:, None].expand(-1, 3), atol=0.1)
    np.testing.assert_allclose(means["table"], table, atol=0.1)
    draws = found["posterior_samples"]
    np.testing.assert_allclose(draws["both"], draws["z"][:, :, None] + table.numpy(), rtol=1e-5)


@pytest.mark.parametrize("first", [0, 1])
def test_outcomes_that_only_some_minibatches_have(draw, first):
    """A tensor that a minibatch lacks tells nothing of where the others' rows are."""

    def model(x, y, table):
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))
            pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        pyro.deterministic("twice", 2 * table)

    def guide(x, y, table):
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(x, 0.1))

    outcomes = [None if i % 2 == first else x + 1 for i, x in enumerate(X.split(3))]
    batches = [(x, y, torch.arange(3.0)) for x, y in zip(X.split(3), outcomes, strict=True)]
    means = draw(model, guide, batches, return_sites=["z", "twice"])["post_sample_means"]
    np.testing.assert_allclose(means["z"], X, atol=0.1)
    np.testing.assert_allclose(means["twice"], [0.0, 2.0, 4.0])


def test_a_loader_that_fills_the_same_tensors_again(draw):
    """All of its batches are one tensor, whose values differ."""

    class Filling:
        rows, index = torch.zeros(4), torch.zeros(4, dtype=torch.long)

        def __iter__(self):
            for low in (0, 4, 8):
                self.rows.copy_(X[low : low + 4])
                self.index.copy_(INDEX[low : low + 4])
                yield self.rows, self.index

    for body in (_platewise, _plateless):
        means = draw(body, body, Filling())["post_sample_means"]
        np.testing.assert_allclose(means["z"], X, atol=0.1)
