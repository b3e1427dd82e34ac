"""Memory and Zarr do what a store has to do."""

from __future__ import annotations

import pytest
from hypothesis import settings

from pyro_posterior.stores.create import open_zarr_store
from pyro_posterior.stores.memory import MemoryStore
from pyro_posterior.stores.read import read_store
from pyro_posterior.testing.stores import StoreTests, steps_of

pytest.importorskip("zarr")


def open_zarr(folder, plan, segments, overwrite=False):
    return open_zarr_store(folder, plan, segments, 3, {}, overwrite=overwrite)


def read_zarr(folder):
    stored = read_store(folder)
    return stored.results, stored.plan.seed


class TestMemory(StoreTests):
    def open(self, folder, plan, segments, overwrite=False):
        return MemoryStore(plan, segments)


class TestZarr(StoreTests):
    def open(self, folder, plan, segments, overwrite=False):
        return open_zarr(folder, plan, segments, overwrite)


TestSteps = steps_of(open_zarr, read_zarr).TestCase
TestSteps.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
