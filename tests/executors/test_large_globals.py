"""Global sites that are large: their columns are segments, drawn by as many as there are."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.posterior import Posterior
from store_helpers import assert_same_bytes, complete_segments, contents, run
from toy_models import assert_same

pytest.importorskip("zarr")

DRAWS = 11


class Programs:
    """A table that all observations share, what follows from it by rows, and one small site."""

    def __init__(self, factors: int = 3, genes: int = 50) -> None:
        self.loc = torch.linspace(-1, 1, factors * genes).reshape(factors, genes)
        self.data = (torch.linspace(0, 1, 12), torch.arange(12))

    def model(self, y, index):
        table = pyro.sample("table", dist.Normal(self.loc, 1.0).to_event(2))
        pyro.deterministic("shares", torch.softmax(table, 0))
        small = pyro.sample("small", dist.Normal(table[0].mean(), 1.0))
        with pyro.plate("obs", 12, subsample=index, dim=-1):
            z = pyro.sample("z", dist.Normal(small, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    def guide(self, y, index):
        pyro.sample("table", dist.Normal(self.loc, 0.1).to_event(2))
        pyro.sample("small", dist.Normal(3.0, 0.1))
        with pyro.plate("obs", 12, subsample=index, dim=-1):
            pyro.sample("z", dist.Normal(y, 0.1))


@pytest.fixture
def small_parts(monkeypatch):
    """Segments of ten columns of the table."""
    monkeypatch.setattr("pyro_posterior.segments.COLUMN_BYTES", DRAWS * 4 * 3 * 10)


def test_columns_hold_the_numbers_of_the_whole(monkeypatch, tmp_path):
    fit = Programs()
    whole = run(fit, fit.data, batch_size=4)
    monkeypatch.setattr("pyro_posterior.segments.COLUMN_BYTES", DRAWS * 4 * 3 * 10)
    parts = run(fit, fit.data, batch_size=4)
    table = next(site for site in parts.plan.sites if site.name == "table")
    assert (table.columns, table.cut_axis, table.global_parts) == (10, -1, 5)
    for name in whole:
        for site in whole[name]:
            np.testing.assert_allclose(parts[name][site], whole[name][site], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts.draws["table"], whole.draws["table"])
    path = tmp_path / "s.zarr"
    assert_same(parts, run(fit, fit.data, batch_size=4, store=path))
    assert complete_segments(path) == 5 + 3
    assert_same(parts, Posterior.open(path))
    parts.save(tmp_path / "saved.zarr")
    assert_same(parts, Posterior.open(tmp_path / "saved.zarr"))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
@pytest.mark.parametrize("engine", ["sliced", "loop"])
def test_shares_have_columns_each(small_parts, tmp_path, order, engine):
    fit = Programs()
    options = {"batch_size": 4, "engine": engine}
    run(fit, fit.data, store=tmp_path / "whole.zarr", **options)
    for index in order:
        run(fit, fit.data, store=tmp_path / "s.zarr", shard=(index, 4), **options)
    assert_same_bytes(tmp_path / "s.zarr", tmp_path / "whole.zarr")
    if order == [0, 1, 2, 3]:
        (tmp_path / "s.zarr/segments/2.json").unlink()
        (tmp_path / "s.zarr/run.json").unlink()
        run(fit, fit.data, store=tmp_path / "s.zarr", **options)  # that one alone
        assert contents(tmp_path / "s.zarr") == contents(tmp_path / "whole.zarr")


def test_functions_of_the_callers_see_the_whole(small_parts):
    fit = Programs()
    seen = []

    def ranks(draws, axis):
        seen.append(draws.shape)
        return draws.mean(axis) / draws.mean()

    run(fit, fit.data, batch_size=4, summary_fun={"relative": ranks}, return_sites=["table"])
    assert set(seen) == {(DRAWS, 3, 50)}


def test_progress_ends_where_it_should(small_parts, monkeypatch):
    from pyro_posterior.drawing import draw_segments, values_of
    from pyro_posterior.executors import here

    told = []

    def execute(job, store, segments):
        part = [segment for segment in segments if segment.number in (1, 2, 6)]
        for result in draw_segments(job, part, told.append):
            store.write(result)
        assert sum(told) == sum(values_of(job, segment) for segment in part)

    monkeypatch.setattr(here, "execute", execute)
    fit = Programs()
    run(fit, fit.data, batch_size=4)


@pytest.mark.slow
def test_workers_have_columns_each(client, tmp_path):
    fit = Programs(20, 4000)
    options = {"batch_size": 4, "num_samples": 700, "return_samples": False}
    here = run(fit, fit.data, store=tmp_path / "here.zarr", **options)
    assert complete_segments(tmp_path / "here.zarr") == 4 + 3
    there = run(fit, fit.data, store=tmp_path / "there.zarr", client=client, **options)
    assert_same(here, there)
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "there.zarr")
    run(fit, fit.data, store=tmp_path / "two.zarr", device=["cpu", "cpu"], **options)
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "two.zarr")
