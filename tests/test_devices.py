"""Accelerator and device by name, index and instance, and what an absent one gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric.accelerators import CPUAccelerator

from pyro_posterior.devices import resolve_device
from pyro_posterior.errors import RequestError
from toy_models import ConjugateNormal, assert_same, sample

CPU = torch.device("cpu")
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
no_mps = pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an MPS device")


@pytest.mark.parametrize(
    ("accelerator", "device"),
    [
        ("cpu", "auto"),
        ("cpu", 0),
        ("cpu", 1),
        ("cpu", "0"),
        (CPUAccelerator(), "auto"),
        ("auto", "cpu"),
        ("auto", CPU),
        ("auto", torch.device("cpu", 0)),
        ("cpu", "cpu"),
        ("CPU", "auto"),
    ],
)
def test_names_of_the_cpu(accelerator, device):
    assert resolve_device(accelerator, device) == CPU


@no_cuda
@no_mps
@pytest.mark.parametrize("device", ["auto", 0, 1])
def test_auto_without_an_accelerator_is_the_cpu(device):
    assert resolve_device("auto", device) == CPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(
    "names", [("auto", "auto"), ("gpu", 0), ("cuda", "auto"), ("cuda", "cuda:0")]
)
def test_names_of_the_first_gpu(names):
    assert resolve_device(*names) == torch.device("cuda", 0)


@no_cuda
@pytest.mark.parametrize("accelerator", ["cuda", "gpu"])
def test_an_absent_gpu(accelerator):
    message = rf"accelerator='{accelerator}' .*is not available here: .*Use accelerator='auto' or"
    with pytest.raises(RequestError, match=message):
        resolve_device(accelerator)


@no_cuda
@pytest.mark.parametrize("device", ["cuda", "cuda:3", torch.device("cuda")])
def test_an_absent_device(device):
    with pytest.raises(RequestError, match=r"device='cuda.*' is not available here: .*'auto'"):
        resolve_device("auto", device)


def test_an_absent_tpu():
    with pytest.raises(RequestError, match=r"accelerator='tpu' .*is not available here"):
        resolve_device("tpu")


@pytest.mark.parametrize("accelerator", ["ipu", "hpu", "HPU"])
def test_accelerators_that_left_lightning(accelerator):
    with pytest.raises(RequestError, match=r"'(?i:[ih]pu)' left lightning; .*Accelerator instance"):
        resolve_device(accelerator)


@pytest.mark.parametrize("accelerator", ["quantum", "cpuu", None, 3])
def test_an_unknown_accelerator(accelerator):
    with pytest.raises(RequestError, match=rf"accelerator={accelerator!r}.*'auto' or 'cpu'"):
        resolve_device(accelerator)


@pytest.mark.parametrize("device", ["nowhere", "cpu:x", "cuda:x"])
def test_a_name_that_is_no_device(device):
    with pytest.raises(RequestError, match=rf"device='{device}' is not a device: give an index"):
        resolve_device("auto", device)


@pytest.mark.parametrize("device", [-1, 2.5, None, [0, 1]])
def test_an_index_that_is_none(device):
    with pytest.raises(RequestError, match=r"device=.* is not a device: give an index"):
        resolve_device("auto", device)


def test_an_accelerator_that_does_not_fit_the_device():
    with pytest.raises(RequestError, match="accelerator='cuda' and device='cpu' contradict"):
        resolve_device("cuda", "cpu")


def test_the_same_numbers_however_the_cpu_is_named():
    toy = ConjugateNormal(6)
    options = {"num_samples": 9, "return_samples": True}
    one = sample(toy.model, toy.guide, toy.data, **options | {"device": "cpu"})
    other = sample(
        toy.model,
        toy.guide,
        toy.data,
        **options | {"device": "auto", "accelerator": CPUAccelerator()},
    )
    assert_same(one, other)


def test_results_come_back_on_the_cpu():
    toy = ConjugateNormal(6)
    found = sample(toy.model, toy.guide, toy.data, num_samples=3, return_samples=True)
    assert all(type(x) is np.ndarray for arrays in found.values() for x in arrays.values())


def test_an_absent_accelerator_is_told_before_anything_is_run():
    runs = []
    with pytest.raises(RequestError, match="left lightning"):
        sample(runs.append, runs.append, torch.ones(3), accelerator="hpu", device="auto")
    assert runs == []
