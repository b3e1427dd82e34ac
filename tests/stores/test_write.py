"""A run with a store gives what a run in memory gives, and the store gives it again."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import Posterior
from pyro_posterior.errors import PosteriorWarning, RequestError, StoreError
from pyro_posterior.stores.array import StoredArray
from store_helpers import Batches, assert_same_bytes, run
from toy_models import ConjugateNormal, assert_same

zarr = pytest.importorskip("zarr")


@pytest.mark.parametrize("return_samples", [False, True])
@pytest.mark.parametrize("batch_size", [1, 5, 7, 21, 22])
def test_equal_to_memory(tmp_path, engine, batch_size, return_samples):
    toy = ConjugateNormal()
    kwargs = {"batch_size": batch_size, "return_samples": return_samples, "engine": engine}
    held = run(toy, toy.data, **kwargs)
    stored = run(toy, toy.data, store=tmp_path / "s.zarr", **kwargs)
    opened = Posterior.open(tmp_path / "s.zarr")
    for other in (stored, opened):
        assert_same(held, other)
        assert other.plan == held.plan
        assert other.nonfinite == held.nonfinite == {}
        for arrays in (held[key] for key in held):
            assert all(
                arrays[name].dtype == held["post_sample_means"]["z"].dtype for name in arrays
            )
    assert opened.program == stored.program
    assert opened.info == stored.info


@pytest.mark.parametrize("sizes", [[3, 8, 1, 5, 5], [22], [1] * 22, [10, 1, 1, 10], [2, 20]])
def test_minibatches_of_any_sizes(tmp_path, sizes):
    toy = ConjugateNormal()
    held = run(toy, Batches(toy, sizes), obs_plate="obs")
    stored = run(toy, Batches(toy, sizes), obs_plate="obs", store=tmp_path / "s.zarr")
    assert_same(held, stored)


def test_many_small_minibatches_make_few_files(tmp_path):
    toy = ConjugateNormal(300)
    kwargs = {"batch_size": 1, "num_samples": 2, "return_sites": ["z"], "return_samples": False}
    run(toy, toy.data, store=tmp_path / "s.zarr", **kwargs)
    chunks = list((tmp_path / "s.zarr/post_sample_means/z/c").iterdir())
    assert len(chunks) == math.ceil(300 / math.ceil(300 / 64))


def test_draws_stay_on_disk(tmp_path):
    toy = ConjugateNormal()
    held = run(toy, toy.data, batch_size=5)
    draws = run(toy, toy.data, batch_size=5, store=tmp_path / "s.zarr")["posterior_samples"]["z"]
    assert isinstance(draws, StoredArray)
    assert (draws.shape, draws.ndim, draws.size, draws.nbytes) == ((11, 22), 2, 242, 968)
    assert len(draws) == 11
    np.testing.assert_array_equal(draws[2, 3:9], held["posterior_samples"]["z"][2, 3:9])
    np.testing.assert_allclose(np.mean(draws, axis=0), held["post_sample_means"]["z"], rtol=1e-6)
    assert np.asarray(draws, np.float64).dtype == np.float64


def _odd_model(x: torch.Tensor) -> None:
    pyro.sample("scope/g", dist.Normal(torch.zeros(3, 2), 1.0).to_event(2))
    with pyro.plate("cells", len(x)):
        pyro.sample("count", dist.Poisson(x))
        flag = pyro.sample("flag", dist.Bernoulli(0.5 * torch.ones(len(x))))
        pyro.deterministic("yes", flag > 0)
        pyro.deterministic("holes", torch.where(flag > 0, math.nan, 1.0))


def _odd_guide(x: torch.Tensor) -> None:
    pyro.sample("scope/g", dist.Normal(torch.zeros(3, 2), 1.0).to_event(2))
    with pyro.plate("cells", len(x)):
        pyro.sample("count", dist.Poisson(x))
        pyro.sample("flag", dist.Bernoulli(0.5 * torch.ones(len(x))))


class _Odd:
    model, guide = staticmethod(_odd_model), staticmethod(_odd_guide)


def test_odd_names_kinds_of_numbers_and_summaries(tmp_path):
    funs = {
        "range": lambda x, axis: np.stack([x.min(axis=axis), x.max(axis=axis)]),
        "count": lambda x, axis: np.isfinite(x).sum(axis=axis),
    }
    kwargs = {"batch_size": 4, "obs_plate": "cells", "summary_fun": funs}
    x = torch.arange(1.0, 10.0)
    with pytest.warns(PosteriorWarning, match="'holes': "):
        held = run(_Odd, x, **kwargs)
    with pytest.warns(PosteriorWarning, match="'holes': "):
        stored = run(_Odd, x, store=tmp_path / "s.zarr", **kwargs)
    assert_same(held, stored)
    assert stored["post_sample_range"]["scope/g"].shape == (2, 3, 2)
    assert stored["post_sample_count"]["yes"].dtype == held["post_sample_count"]["yes"].dtype
    assert held.nonfinite["holes"] > 0
    assert Posterior.open(tmp_path / "s.zarr").nonfinite == held.nonfinite


@pytest.mark.parametrize("name", ["", "n" * 300, "draw", "chain", "..", "a/b", "größe Δ"])
def test_any_name_of_a_site(tmp_path, name):
    def model(x):
        with pyro.plate("cells", len(x)):
            pyro.sample(name, dist.Normal(torch.zeros(len(x)), 1.0))

    kwargs = {"batch_size": 2, "obs_plate": "cells"}
    held = run(_Both(model), torch.zeros(5), **kwargs)
    run(_Both(model), torch.zeros(5), store=tmp_path / "s.zarr", **kwargs)
    stored = Posterior.open(tmp_path / "s.zarr")
    assert_same(held, stored)
    pytest.importorskip("xarray")
    from pyro_posterior.exports.xarray import to_xarray

    (draws,) = to_xarray(stored)["posterior_samples"].data_vars.values()
    np.testing.assert_array_equal(draws[0], held["posterior_samples"][name])


class _Both:
    def __init__(self, model):
        self.model = self.guide = model


@pytest.mark.parametrize("event", [(0,), (3, 0)])
def test_axes_of_no_length(tmp_path, event):
    def model(x):
        with pyro.plate("cells", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), *event), 1.0).to_event(len(event)))

    kwargs = {"batch_size": 2, "obs_plate": "cells"}
    held = run(_Both(model), torch.zeros(5), **kwargs)
    assert_same(held, run(_Both(model), torch.zeros(5), store=tmp_path / "s.zarr", **kwargs))
    assert held["post_sample_means"]["z"].shape == (5, *event)


def test_draws_of_a_type_that_numpy_lacks(tmp_path):
    def model(x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.deterministic("half", z.bfloat16())

    held = run(_Both(model), torch.zeros(5))
    assert_same(held, run(_Both(model), torch.zeros(5), store=tmp_path / "s.zarr"))
    half = held["posterior_samples"]["half"]
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, held["posterior_samples"]["z"], rtol=1e-2)


@pytest.mark.parametrize("name", ["a/b", "../..", "n" * 300])
def test_summaries_whose_names_are_no_folders(tmp_path, name):
    toy = ConjugateNormal()
    with pytest.raises(RequestError, match="cannot be a folder of a store"):
        run(toy, toy.data, store=tmp_path / "s.zarr", summary_fun={name: np.median})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", 3, "s3://bucket/run.zarr"])
def test_paths_that_are_no_folders(path):
    toy = ConjugateNormal()
    with pytest.raises(StoreError, match="folder"):
        run(toy, toy.data, store=path)
    with pytest.raises(StoreError, match="folder"):
        Posterior.open(path)


def test_a_link_to_an_empty_folder(tmp_path):
    toy = ConjugateNormal()
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    run(toy, toy.data, store=tmp_path / "link")
    assert_same(Posterior.open(tmp_path / "link"), Posterior.open(tmp_path / "there"))


def test_global_sites_alone(tmp_path):
    toy = ConjugateNormal()
    kwargs = {"batch_size": 5, "return_sites": ["mu"]}
    assert_same(run(toy, toy.data, **kwargs), run(toy, toy.data, store=tmp_path / "s", **kwargs))


def test_two_runs_write_the_same_bytes(tmp_path):
    toy = ConjugateNormal()
    for name in ("a.zarr", "b.zarr"):
        run(toy, toy.data, batch_size=5, store=tmp_path / name)
    assert_same_bytes(tmp_path / "a.zarr", tmp_path / "b.zarr")


def test_the_size_is_said_before_it_starts(tmp_path, caplog):
    toy = ConjugateNormal()
    with caplog.at_level(logging.INFO, "pyro_posterior"):
        run(toy, toy.data, batch_size=5, num_samples=1000, store=tmp_path / "s.zarr")
    # two global and three local sites, four summaries and a thousand draws of four bytes
    size = (2 + 3 * 22) * 1004 * 4
    assert f"up to {size / 1000:.1f} kB to write; " in caplog.text


def test_two_processes_write_different_segments(tmp_path):
    toy = ConjugateNormal(40)
    run(toy, toy.data, batch_size=4, store=tmp_path / "whole.zarr")
    script = Path(__file__).with_name("write_some_segments.py")
    writers = [
        subprocess.Popen([sys.executable, script, tmp_path / "shared.zarr", str(part)])
        for part in range(2)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    run(toy, toy.data, batch_size=4, store=tmp_path / "shared.zarr")  # nothing left but closing
    assert_same_bytes(tmp_path / "shared.zarr", tmp_path / "whole.zarr")
