"""A profiler or debugger that holds the frames of a run changes nothing in what is read of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.joint import JointSampler
from pyro_posterior.reading.identity import model_identity
from pyro_posterior.sliced.record import record_first


@contextmanager
def frames_held() -> Iterator[list[Any]]:
    """As a profiler in another thread has it: what a function returned is held by its frame."""
    held: list[Any] = []
    sys.setprofile(lambda frame, event, argument: held.append((frame, argument)))
    try:
        yield held
    finally:
        sys.setprofile(None)


def model(x: torch.Tensor) -> None:
    shift = torch.full((2,), 0.5) + torch.arange(2.0)
    with pyro.plate("features", 2, dim=-2):
        pyro.sample("loc", dist.Normal(torch.zeros(2, 1), torch.ones_like(shift)[:, None]))
    with pyro.plate("obs", len(x)):
        z = pyro.sample("z", dist.Normal(x, 1.0))
        pyro.deterministic("noisy", z + torch.randn(len(x)) + torch.rand_like(x))
        pyro.deterministic("held", z.detach() + torch.full((1,), 2.0).detach())


def guide(x: torch.Tensor) -> None:
    with pyro.plate("features", 2, dim=-2):
        pyro.sample("loc", dist.Normal(torch.zeros(2, 1), 1.0))
    with pyro.plate("obs", len(x)):
        pyro.sample("z", dist.Normal(x, torch.full((), 0.5)))


def _read() -> tuple[list[str], dict[str, str]]:
    sampler = JointSampler(model, guide, 3, None)
    found = record_first(sampler, Minibatch(0, (torch.linspace(0.0, 1.0, 5),))).record
    return [op.name for op in found.tape.ops], model_identity(model, guide, [], found)


def test_an_identity_is_the_same_under_a_profiler() -> None:
    alone, identity = _read()
    with frames_held() as held:
        watched, watched_identity = _read()
    assert len(held) > 1000
    assert watched == alone
    assert watched_identity == identity
    assert alone.count("detach") == 2  # the model's own
