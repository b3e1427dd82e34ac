"""Dask's workers give the numbers of one process, byte by byte, whatever happens to them."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from pyro_posterior.errors import RequestError
from store_helpers import Batches, assert_same_bytes, complete_segments, run
from toy_models import ConjugateNormal, assert_same

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


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


def test_an_error_of_the_model_is_the_users_own_and_says_which_minibatch(client, toy, tmp_path):
    class Broken(_Slow):
        def model(self, y, index):
            if int(index[0]) == 20:
                raise ZeroDivisionError("twenty")
            return self._toy.model(y, index)

    broken = Broken(toy)
    with pytest.raises(ZeroDivisionError, match="twenty") as caught:
        run(broken, broken.data, batch_size=4, store=tmp_path / "s.zarr", client=client)
    notes = "\n".join(caught.value.__notes__)
    assert "minibatch 5" in notes
    assert "the same call goes on with the rest" in notes


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


def test_parameters_of_pyros_store_travel(client):
    import pyro
    import pyro.distributions as dist
    import torch

    def model(x):
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("rows", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc + x, 0.001))

    class Fit:
        pass

    fit = Fit()
    fit.model, fit.guide = model, guide
    x = torch.arange(6.0)
    pyro.clear_param_store()
    guide(x)
    with torch.no_grad():
        pyro.get_param_store().get_state()["params"]["loc"].fill_(100.0)
    found = run(fit, x, batch_size=2, client=client, obs_plate="rows")
    np.testing.assert_allclose(found["post_sample_means"]["z"], 100 + x.numpy(), atol=0.01)
    pyro.clear_param_store()
