"""Fixtures for all tests. ``PYRO_POSTERIOR_TEST_DEVICE=cuda pytest`` moves the suite elsewhere."""

from __future__ import annotations

import os

import pyro
import pytest
import torch

#: Device every call of `toy_models.sample` draws on.
DEVICE = os.environ.get("PYRO_POSTERIOR_TEST_DEVICE", "cpu")


@pytest.fixture(params=["loop", "sliced"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both engines, held to the same."""
    return request.param


@pytest.fixture(autouse=True)
def _clean_pyro():
    """Every test begins with an empty parameter store and the same random state."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    pyro.clear_param_store()
