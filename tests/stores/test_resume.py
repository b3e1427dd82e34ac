"""Interrupted runs: nothing complete is lost or done again, and the end is byte-equal."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import Posterior
from pyro_posterior import program as recipe
from pyro_posterior.errors import StoreError
from pyro_posterior.loop import LoopProgram
from pyro_posterior.sliced import build, sizes
from store_helpers import Batches, assert_same_bytes, complete_segments, run
from toy_models import ConjugateNormal, assert_same

pytest.importorskip("zarr")


class Stop(Exception):
    """Ends a run from within its data."""


def stop_at(store: Path, minibatch: int):
    """An event of `Batches` that ends the run when it comes to a minibatch."""

    def event(index: int) -> None:
        if store.exists() and index == minibatch:
            raise Stop

    return event


@pytest.mark.parametrize("sizes", [[4] * 5 + [2], [3, 8, 1, 5, 5]])
@pytest.mark.parametrize("minibatch", [0, 1, 3])
def test_an_interrupted_run_goes_on(tmp_path, sizes, minibatch):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    whole = run(toy, Batches(toy, sizes), obs_plate="obs", store=tmp_path / "whole.zarr")
    with pytest.raises(Stop) as stopped:
        run(toy, Batches(toy, sizes, stop_at(store, minibatch)), obs_plate="obs", store=store)
    assert f"{complete_segments(store)} of " in stopped.value.__notes__[-1]
    assert "the same call goes on" in stopped.value.__notes__[-1]
    times = {f: f.stat().st_mtime_ns for f in store.glob("*/*/c/**/*") if f.is_file()}
    resumed = run(toy, Batches(toy, sizes), obs_plate="obs", store=store)
    assert_same(whole, resumed)
    assert_same_bytes(tmp_path / "whole.zarr", store)
    assert all(file.stat().st_mtime_ns == time for file, time in times.items())


def test_no_minibatch_that_is_done_is_drawn_again(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    calls = []

    class Counted:
        guide = toy.guide

        @staticmethod
        def model(y, index=None):
            calls.append(len(y))
            toy.model(y, index)

    def counted(data, store=store):
        calls.clear()
        run(Counted, data, obs_plate="obs", store=store)
        return len(calls)

    with pytest.raises(Stop):
        counted(Batches(toy, [2] * 11, stop_at(store, 8)))
    missing = 12 - complete_segments(store)
    assert missing == 3
    left = counted(Batches(toy, [2] * 11))
    whole = counted(Batches(toy, [2] * 11), tmp_path / "whole.zarr")
    assert whole - left == (11 - missing) * 11  # minibatches done, eleven draws of each
    assert counted(Batches(toy, [2] * 11)) < left - missing * 11  # a look, and nothing drawn


def test_a_finished_store_is_read_not_drawn(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    first = run(toy, toy.data, batch_size=5, store=store)
    times = {f: f.stat().st_mtime_ns for f in store.rglob("*")}
    assert_same(first, run(toy, toy.data, batch_size=5, store=store))
    assert {f: f.stat().st_mtime_ns for f in store.rglob("*")} == times


@pytest.mark.parametrize(
    ("engine", "asked", "other"),
    [("auto", "auto", "loop"), ("auto", "sliced", "loop"), ("loop", "loop", "sliced")],
)
def test_a_finished_store_is_compared_without_a_program_or_a_draw(
    tmp_path, monkeypatch, engine, asked, other
):
    toy, read = ConjugateNormal(), []
    data = Batches(toy, [4] * 5 + [2], read.append)
    options = {"obs_plate": "obs", "store": tmp_path / "s.zarr"}
    first = run(toy, data, engine=engine, **options)
    with pytest.raises(StoreError, match="engine: '.*' in the store, '.*' now"):
        run(toy, data, engine=other, **options)
    options["engine"] = asked

    def none(*args, **kwargs):
        raise AssertionError("a program was made, or run")

    monkeypatch.setattr(recipe, "build_sliced", none)
    monkeypatch.setattr(LoopProgram, "parts", none)
    read.clear()
    again = run(toy, data, **options)
    assert read == [0, 1, *range(6)]  # two to see that there are several, then all of them once
    assert_same(first, again)
    assert (again.program, again.info) == (first.program, first.info)
    changed = ConjugateNormal()
    changed.y[5] += 1
    with pytest.raises(StoreError, match="data: other values in the observations 4 to 7"):
        run(toy, Batches(changed, [4] * 5 + [2]), **options)
    with pytest.raises(AssertionError, match="a program was made"):
        run(toy, data, overwrite=True, **options)


def test_a_run_goes_on_with_as_many_random_numbers_at_once(tmp_path, monkeypatch):
    """So that sums round in the same way where the cache is another one."""
    sliced = functools.partial(run, engine="sliced")
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    whole = sliced(toy, toy.data, batch_size=2, store=tmp_path / "whole.zarr")
    with pytest.raises(Stop):
        sliced(toy, Batches(toy, [2] * 11, stop_at(store, 2)), obs_plate="obs", store=store)
    assert whole.plan.chunk_bytes == sizes.chunk_bytes(torch.device("cpu"))
    monkeypatch.setattr(build, "chunk_bytes", lambda device: 12345)
    resumed = sliced(toy, Batches(toy, [2] * 11), obs_plate="obs", store=store)
    assert resumed.plan == whole.plan
    assert f"{whole.plan.chunk_bytes} bytes each" in resumed.program
    assert_same_bytes(tmp_path / "whole.zarr", store)
    assert sliced(toy, toy.data, batch_size=2).plan.chunk_bytes == 12345


def test_without_a_seed_the_unfinished_run_gives_it(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    with pytest.raises(Stop):
        run(
            toy,
            Batches(toy, [2] * 11, stop_at(store, 2)),
            obs_plate="obs",
            seed=None,
            store=store,
        )
    resumed = run(toy, Batches(toy, [2] * 11), obs_plate="obs", seed=None, store=store)
    assert_same(run(toy, Batches(toy, [2] * 11), obs_plate="obs", seed=resumed.seed), resumed)
    with pytest.raises(StoreError, match=f"holds a finished run with seed {resumed.seed}"):
        run(toy, Batches(toy, [2] * 11), obs_plate="obs", seed=None, store=store)


def test_an_unfinished_store_is_not_opened(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    with pytest.raises(Stop):
        run(toy, Batches(toy, [2] * 11, stop_at(store, 2)), obs_plate="obs", store=store)
    with pytest.raises(StoreError, match="unfinished: 3 of 12 segments are complete"):
        Posterior.open(store)


class Shifted(ConjugateNormal):
    """A guide with a parameter."""

    def guide(self, y, index=None):
        shift = pyro.param("shift", torch.tensor(0.0))
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(self.mu_mean) + shift, 1.0))
        with pyro.plate("obs", self.num_obs, subsample=index):
            pyro.sample("z", dist.Normal((mu + y) / 2, 0.5**0.5))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"seed": 5}, "seed: 1 in the store, 5 now"),
        ({"num_samples": 12}, "number of samples: 11 in the store, 12 now"),
        ({"return_sites": ["z", "mu"]}, "the store has .*, which this call does not ask for"),
        ({"return_samples": False}, "return_samples: True in the store, False now"),
        ({"summary_fun": {"means": torch.mean}}, "summaries: "),
        ({"batch_size": 6}, "minibatches: "),
    ],
)
def test_a_store_of_another_call_is_refused(tmp_path, change, match):
    toy, kwargs = Shifted(), {"batch_size": 5, "store": tmp_path / "s.zarr"}
    run(toy, toy.data, **kwargs)
    with pytest.raises(StoreError, match=match):
        run(toy, toy.data, **{**kwargs, **change})


def test_a_store_of_another_model_guide_or_data_is_refused(tmp_path):
    toy, kwargs = Shifted(), {"batch_size": 5, "store": tmp_path / "s.zarr"}
    run(toy, toy.data, **kwargs)
    longer = Shifted(23)
    with pytest.raises(StoreError, match="number of observations: 22 in the store, 23"):
        run(longer, longer.data, **kwargs)
    with pytest.raises(StoreError, match="data: "):
        run(toy, (toy.y + 1, toy.data[1]), **kwargs)
    pyro.get_param_store()["shift"] = torch.tensor(0.1)
    with pytest.raises(StoreError, match="parameters: "):
        run(toy, toy.data, **kwargs)
    anew = run(toy, toy.data, overwrite=True, **kwargs)
    assert_same(anew, Posterior.open(tmp_path / "s.zarr"))


def _above(limit):
    return lambda x, axis: (x > limit).mean(axis)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x, axis: x.mean(axis), lambda x, axis: x.max(axis)),
        (_above(0.0), _above(1.0)),
        (np.median, np.mean),
        (functools.partial(np.quantile, q=0.1), functools.partial(np.quantile, q=0.2)),
    ],
)
def test_another_function_under_the_same_name_is_refused(tmp_path, one, other):
    toy, kwargs = ConjugateNormal(), {"batch_size": 5, "store": tmp_path / "s.zarr"}
    held = run(toy, toy.data, summary_fun={"m": one}, **kwargs)
    assert_same(held, run(toy, toy.data, summary_fun={"m": one}, **kwargs))
    with pytest.raises(StoreError, match="functions in summary_fun: "):
        run(toy, toy.data, summary_fun={"m": other}, **kwargs)


def test_overwrite_leaves_a_folder_of_something_else_alone(tmp_path):
    toy = ConjugateNormal()
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(StoreError, match="not a store"):
            run(toy, toy.data, store=tmp_path, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(StoreError, match="is a file"):
        run(toy, toy.data, store=tmp_path / "thesis.txt")


@pytest.mark.slow
def test_killed_ten_times_and_resumed(tmp_path):
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 kills" in done.stdout, done.stdout
    assert_same_bytes(tmp_path / "whole.zarr", tmp_path / "killed.zarr")
