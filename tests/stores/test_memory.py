"""Pieces come in any order and land in the rows of their minibatch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_posterior.contracts import RunPlan, SegmentResult, Site
from pyro_posterior.segments import cut
from pyro_posterior.stores.memory import MemoryStore

SITES = (
    Site("local", "latent", "local", (3, 2), torch.float32, batch_axis=-2),
    Site("pairs", "latent", "local", (6,), torch.float32, batch_axis=-1, rows_per_obs=2),
    Site("global", "latent", "global", (4,), torch.float32),
)
PLAN = RunPlan(SITES, "obs", 5, 0, (3, 3, 1), ("post_sample_means",), True, "loop")


def _whole():
    rng = np.random.default_rng(0)
    return {
        "post_sample_means": {"local": rng.random((7, 2)), "pairs": rng.random(14)},
        "posterior_samples": {"local": rng.random((5, 7, 2)), "pairs": rng.random((5, 14))},
    }


def _piece(whole, index):
    rows = slice(3 * index, 3 * index + 3)
    twice = slice(6 * index, 6 * index + 6)
    return {
        key: {"local": arrays["local"][..., rows, :], "pairs": arrays["pairs"][..., twice]}
        for key, arrays in whole.items()
    }


SEGMENTS = cut(PLAN, 3)


def _result(number, results, nonfinite=None):
    return SegmentResult(SEGMENTS[number], results, nonfinite or {})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_segments_land_in_their_rows(order):
    store, whole = MemoryStore(PLAN, SEGMENTS), _whole()
    globals_ = {
        "post_sample_means": {"global": np.ones(4)},
        "posterior_samples": {"global": np.ones((5, 4))},
    }
    for index in order:
        store.write(_result(index + 1, _piece(whole, index)))
    assert store.missing() == {0}
    store.write(_result(0, globals_))
    assert store.missing() == set()
    found = store.finish(dict).results
    for key in PLAN.result_names:
        assert list(found[key]) == ["local", "pairs", "global"]  # the model's order
        for name in ("local", "pairs"):
            np.testing.assert_array_equal(found[key][name], whole[key][name])
        np.testing.assert_array_equal(found[key]["global"], globals_[key]["global"])


def test_non_finite_draws_are_added_up_and_a_segment_that_comes_again_counts_once():
    store, whole = MemoryStore(PLAN, SEGMENTS), _whole()
    store.write(_result(0, {key: {"global": np.ones(4)} for key in PLAN.result_names}))
    for index in (0, 1, 2, 2):
        store.write(_result(index + 1, _piece(whole, index), {"local": index}))
    assert store.finish(dict).nonfinite == {"local": 3}


def test_partial_results_come_in_the_order_of_segments():
    store = MemoryStore(PLAN, SEGMENTS)
    for number in (3, 1, 2):
        partials = {"totals": {"sum": np.array(number)}}
        store.write(SegmentResult(SEGMENTS[number], {}, partials=partials))
    assert [int(partial["sum"]) for partial in store.partials("totals")] == [1, 2, 3]
