"""A process on each of several devices gives the numbers of one."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest
import torch

from pyro_posterior.devices import all_devices
from pyro_posterior.errors import RequestError
from store_helpers import assert_same_bytes, run
from toy_models import ConjugateNormal, assert_same

pytest.importorskip("cloudpickle")


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tmp_path):
    toy = ConjugateNormal(40)
    options = {"batch_size": 4, "accelerator": "cpu"}
    here = run(toy, toy.data, device="cpu", store=tmp_path / "one.zarr", **options)
    assert_same(here, run(toy, toy.data, device=["cpu", "cpu"], **options))
    run(toy, toy.data, device=["cpu", "cpu"], store=tmp_path / "two.zarr", **options)
    assert_same_bytes(tmp_path / "one.zarr", tmp_path / "two.zarr")


def test_data_may_be_more_than_a_pipe_holds():
    toy = ConjugateNormal(20_000)
    options = {"batch_size": 5000, "num_samples": 4}
    assert_same(run(toy, toy.data, **options), run(toy, toy.data, device=["cpu", "cpu"], **options))


@pytest.mark.slow
def test_extensions_and_totals_are_drawn_there_as_here():
    toy = ConjugateNormal(12)
    groups = ["a", "b", "b"] * 4
    options = {
        "batch_size": 4,
        "accelerator": "cpu",
        "derived": {"square": lambda s: s["z"] ** 2},
        "grouped": {"by_group": ("z", groups, "mean")},
        "predictive": True,
        "log_likelihood": True,
    }
    here = run(toy, toy.data, device="cpu", **options)
    there = run(toy, toy.data, device=["cpu", "cpu"], **options)
    assert_same(here, there)
    assert here["post_sample_means"]["by_group"].shape == (2,)
    np.testing.assert_array_equal(here.log_likelihood, there.log_likelihood)


@pytest.mark.slow
def test_an_error_in_one_process_is_the_users_own():
    toy = ConjugateNormal(8)

    class Broken(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, row):
            if multiprocessing.parent_process() is not None and row == 4:
                raise ZeroDivisionError("four")
            return tuple(x[row] for x in toy.data)

    loader = torch.utils.data.DataLoader(Broken(), batch_size=2)
    with pytest.raises(ZeroDivisionError, match="four") as caught:
        run(toy, loader, device=["cpu", "cpu"], obs_plate="obs")
    assert "minibatch 2" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": []}, "names no device"),
        ({"device": ["cpu", "cpu"], "shard": (0, 2), "store": "s"}, "give one of them"),
    ],
)
def test_what_does_not_go_together(options, message):
    toy = ConjugateNormal(4)
    with pytest.raises(RequestError, match=message):
        run(toy, toy.data, **options)


def test_all_devices_are_there():
    found = all_devices()
    assert len(found) == max(1, torch.cuda.device_count())
    assert all_devices("cpu") == ("cpu",)
