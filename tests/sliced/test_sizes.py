"""Chunks follow from what a slice holds at once, and from one number that a run fixes."""

from __future__ import annotations

import resource
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.record import record
from pyro_posterior.sliced.sizes import chunk_draws, live_bytes
from pyro_posterior.sliced.slicing import Slice, slice_record
from pyro_posterior.sliced.terms import Terms

COLUMNS = 1000


def model(y: torch.Tensor) -> None:
    """A hundred random numbers, and a body that holds three tables of 100,000 at once."""
    with pyro.plate("obs", 100, subsample=torch.arange(len(y))):
        z = pyro.sample("z", dist.Normal(y, 1.0))
    rate = (z[:, None] * torch.ones(COLUMNS)).exp()  # freed once it has been added to
    more = rate + rate.sin()
    pyro.deterministic("small", more.sum(-1))
    pyro.deterministic("rate", more)


def cut(*names: str) -> tuple[Slice, JointSampler]:
    sampler = JointSampler(model, model, seed=3, obs_plate="obs")
    found = record(sampler, Minibatch(0, (torch.ones(100),)), 0, names)
    return slice_record(found, names), sampler


def draws(found: Slice, sampler: JointSampler, budget: int, num_samples: int = 1000) -> int:
    terms = Terms(sampler, ("z",), (("z",),), num_samples, torch.device("cpu"), budget)
    return chunk_draws(found, terms)


def test_memory_is_counted_from_its_making_to_its_last_use() -> None:
    table, few = 4 * 100 * COLUMNS, 10 * 4 * 100
    assert live_bytes(cut("z")[0]) <= few
    for name in ("small", "rate"):
        assert 3 * table <= live_bytes(cut(name)[0]) <= 3 * table + few


@pytest.mark.parametrize(
    ("name", "budget", "expected"),
    [
        ("z", 1 << 20, 128),
        ("z", 400 * 20, 16),
        ("z", 1, 1),
        ("small", 1 << 20, 24),  # 32 MB alive, 1.2 MB a draw
        ("small", 1 << 18, 4),
        ("small", 1 << 10, 1),
    ],
)
def test_draws_at_once(name: str, budget: int, expected: int) -> None:
    found, sampler = cut(name)
    assert draws(found, sampler, budget) == expected
    assert draws(found, sampler, budget, num_samples=3) <= 8


def test_a_large_body_runs_in_little_memory() -> None:
    from toy_models import sample

    def large(y: torch.Tensor) -> None:
        with pyro.plate("obs", 1000, subsample=torch.arange(len(y))):
            z = pyro.sample("z", dist.Normal(y, 1.0))
        rate = (z[:, None] * torch.ones(6000)).exp()  # 24 MB a draw
        pyro.deterministic("total", (rate + rate.sin()).sum(-1))

    def peak(num_samples: int) -> int:
        options: dict[str, Any] = {"num_samples": num_samples, "engine": "sliced"}
        sample(large, large, (torch.zeros(1000),), **options)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = peak(2)
    # Kilobytes: 70,000 to 260,000 with what the C library keeps; 64 draws at once take 4,600,000.
    assert peak(64) - before < 600_000
