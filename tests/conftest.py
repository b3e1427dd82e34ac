"""Fixtures for all tests. ``PYRO_POSTERIOR_TEST_DEVICE=cuda pytest`` moves the suite elsewhere."""

from __future__ import annotations

import importlib.util
import os

import pyro
import pytest
import torch

#: Device every call of `toy_models.sample` draws on.
DEVICE = os.environ.get("PYRO_POSTERIOR_TEST_DEVICE", "cpu")


@pytest.fixture(params=["loop", "sliced"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both engines, held to the same; the sliced one only where it is there."""
    if request.param == "sliced" and not _has_sliced():
        pytest.skip("the sliced program is not there")
    return request.param


def _has_sliced() -> bool:
    return importlib.util.find_spec("pyro_posterior.sliced.program") is not None


@pytest.fixture(autouse=True)
def _clean_pyro():
    """Every test begins with an empty parameter store and the same random state."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    pyro.clear_param_store()
