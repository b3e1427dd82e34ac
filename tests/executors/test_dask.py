"""Dask's workers give the numbers of one process, byte by byte, whatever happens to them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pyro_posterior.errors import RequestError
from store_helpers import Batches, assert_same_bytes, complete_segments, run
from toy_models import ConjugateNormal, assert_same

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture
def toy() -> ConjugateNormal:
    return ConjugateNormal(44)


def test_results_come_back_without_a_store(client, toy):
    here = run(toy, toy.data, batch_size=3)
    assert_same(here, run(toy, toy.data, batch_size=3, client=client))


def test_the_store_is_the_same_byte_by_byte(client, toy, tmp_path):
    here = run(toy, toy.data, batch_size=3, store=tmp_path / "here.zarr")
    there = run(toy, toy.data, batch_size=3, store=tmp_path / "there.zarr", client=client)
    assert_same(here, there)
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "there.zarr")


@pytest.mark.parametrize("path", ["there.zarr", "~/there.zarr"])
def test_a_store_is_one_folder_wherever_workers_run(client, toy, tmp_path, monkeypatch, path):
    here = run(toy, toy.data, batch_size=3, store=tmp_path / "here.zarr")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert_same(here, run(toy, toy.data, batch_size=3, store=path, client=client))
    assert_same_bytes(tmp_path / "here.zarr", tmp_path / "there.zarr")


class _Slow:
    """A model that takes its time, so that a worker can be killed in the middle."""

    def __init__(self, toy: ConjugateNormal) -> None:
        self._toy = toy
        self.guide = toy.guide
        self.data = toy.data
        self.num_obs = toy.num_obs

    def model(self, *args):
        import time

        time.sleep(0.01)
        return self._toy.model(*args)


def test_a_worker_killed_twice_in_the_middle_changes_nothing(client, toy, tmp_path):
    slow = _Slow(toy)
    run(slow, slow.data, batch_size=2, store=tmp_path / "here.zarr")
    path = tmp_path / "there.zarr"

    def kill_when(segments: int) -> None:
        while complete_segments(path) < segments:
            threading.Event().wait(0.02)
        worker = next(iter(client.scheduler_info()["workers"]))
        pid = client.run(os.getpid, workers=[worker], on_error="ignore").get(worker)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    killers = [threading.Thread(target=kill_when, args=(n,), daemon=True) for n in (4, 10)]
    for killer in killers:
        killer.start()
    run(slow, slow.data, batch_size=2, store=path, client=client)
    assert_same_bytes(tmp_path / "here.zarr", path)


def test_what_cannot_be_sent_is_named(client, toy):
    lock = threading.Lock()

    def to_args(batch):
        with lock:
            return batch, {}

    with pytest.raises(RequestError, match="to_args cannot be sent to other processes"):
        run(toy, toy.data, to_args=to_args, client=client)


def test_data_that_can_only_be_read_from_the_beginning_are_refused(client, toy):
    batches = Batches(toy, [4] * 11)
    with pytest.raises(RequestError, match="can only be read from its beginning"):
        run(toy, batches, obs_plate="obs", client=client)
    opened = run(toy, lambda: toy.data, batch_size=4, client=client)
    assert_same(opened, run(toy, batches, obs_plate="obs"))


class _Rows(torch.utils.data.Dataset):
    """Rows by number; every process notes in a file of its own which ones it read."""

    def __init__(self, toy, notes):
        self._toy, self._notes = toy, notes

    def __len__(self):
        return self._toy.num_obs

    def __getitem__(self, row):
        with open(self._notes / str(os.getpid()), "a", encoding="ascii") as file:
            file.write(f"{row} ")
        return tuple(x[row] for x in self._toy.data)


def test_a_worker_reads_the_rows_of_its_segments_and_of_both_ends(client, toy, tmp_path):
    (notes := tmp_path / "notes").mkdir()
    loader = torch.utils.data.DataLoader(_Rows(toy, notes), batch_size=2)
    there = run(toy, loader, obs_plate="obs", client=client)
    assert_same(run(toy, toy.data, batch_size=2, obs_plate="obs"), there)
    read = {int(file.name): set(file.read_text().split()) for file in notes.iterdir()}
    everything = {str(row) for row in range(44)}
    assert read.pop(os.getpid()) == everything
    assert set().union(*read.values()) == everything
    assert len(read) == 2
    assert all(rows < everything for rows in read.values())


def test_an_error_on_a_worker_is_the_users_own_and_says_which_minibatch(client, toy, tmp_path):
    class Broken(_Rows):
        def __getitem__(self, row):
            if multiprocessing.parent_process() is not None and row == 20:
                raise ZeroDivisionError("twenty")
            return tuple(x[row] for x in self._toy.data)

    loader = torch.utils.data.DataLoader(Broken(toy, None), batch_size=4)
    with pytest.raises(ZeroDivisionError, match="twenty") as caught:
        run(toy, loader, obs_plate="obs", store=tmp_path / "s.zarr", client=client)
    notes = "\n".join(caught.value.__notes__)
    assert "minibatch 5" in notes
    assert "the same call goes on with the rest" in notes


def test_data_that_are_others_on_a_worker_are_found_out(client, toy):
    class Changing(_Rows):
        def __getitem__(self, row):
            y, index = (x[row] for x in self._toy.data)
            elsewhere = multiprocessing.parent_process() is not None
            return (y + 100 if elsewhere and row == 20 else y), index

    loader = torch.utils.data.DataLoader(Changing(toy, None), batch_size=2)
    with pytest.raises(RequestError, match="minibatch 10 is not what it was"):
        run(toy, loader, obs_plate="obs", client=client)


def test_parameters_of_pyros_store_travel(client):
    import pyro
    import pyro.distributions as dist

    def model(x):
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc + x, 0.001))

    fit = SimpleNamespace(model=model, guide=guide)
    x = torch.arange(6.0)
    pyro.clear_param_store()
    guide(x)
    with torch.no_grad():
        pyro.get_param_store().get_state()["params"]["loc"].fill_(100.0)
    found = run(fit, x, batch_size=2, client=client, obs_plate="rows")
    np.testing.assert_allclose(found["post_sample_means"]["z"], 100 + x.numpy(), atol=0.01)
    pyro.clear_param_store()


def test_parameters_that_nobody_has_made_are_made_there_as_here(client):
    import pyro
    import pyro.distributions as dist

    def model(x):
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide(x):
        loc = pyro.param("loc", torch.full((2,), 3.0))
        scale = pyro.param("scale", torch.tensor(0.5), constraint=dist.constraints.positive)
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc.sum() + x, scale))

    fit = SimpleNamespace(model=model, guide=guide)
    x = torch.arange(6.0)
    pyro.clear_param_store()
    here = run(fit, x, batch_size=2, obs_plate="rows")
    assert not len(pyro.get_param_store())
    assert_same(here, run(fit, x, batch_size=2, client=client, obs_plate="rows"))
    pyro.clear_param_store()
