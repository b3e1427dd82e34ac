"""A further recording runs what sites and Python need, and nothing large besides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_posterior.contracts import Minibatch
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.record import Record, record
from pyro_posterior.sliced.same import same_slice
from pyro_posterior.sliced.skips import Skips
from pyro_posterior.sliced.slicing import slice_record
from toy_models import sample

Y = torch.linspace(-1.0, 1.0, 500)
LARGE = torch.ones(500, 400)


class Ran(TorchDispatchMode):
    """Counts the operations that really run."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.counts[func._overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def twice(
    function: Callable[..., Any], name: str = "z", others: torch.Tensor = Y
) -> tuple[Record, Record, Counter[str]]:
    """A full recording, another that skips, and what ran in the second one."""
    sampler = JointSampler(function, function, seed=3, obs_plate="obs")
    first = record(sampler, Minibatch(0, (Y,)), 0, (name,))
    skips = Skips.of(slice_record(first, (name,)))
    with Ran() as ran:
        second = record(sampler, Minibatch(0, (others,)), 1, (name,), skips)
    expected = sampler.values(Minibatch(0, (others,)), 1, (name,))[name]
    assert torch.equal(second.values[name], expected)
    return first, second, ran.counts


def test_a_large_likelihood_is_not_computed_again() -> None:
    def model(y: torch.Tensor) -> None:
        with pyro.plate("obs", 500, subsample=torch.arange(len(y))):
            z = pyro.sample("z", dist.Normal(y.sin(), 1.0))
            rate = (z[:, None] * LARGE).tan().atan()
            rate.cos_()
            pyro.sample("y", dist.Normal(rate.sigmoid().mean(-1), 1.0), obs=y)

    first, second, ran = twice(model)
    assert not same_slice(slice_record(first, ("z",)), slice_record(second, ("z",)))
    assert [op.func for op in first.tape.ops] == [op.func for op in second.tape.ops]
    assert ran["sin"] > 0
    assert ran["sigmoid"] > 0  # its mean is small: it is computed, and so is what it takes
    assert ran["tan"] > 0

    def alone(y: torch.Tensor) -> None:
        with pyro.plate("obs", 500, subsample=torch.arange(len(y))):
            z = pyro.sample("z", dist.Normal(y.sin(), 1.0))
            rate = (z[:, None] * LARGE).tan().atan()
            rate.cos_()
            pyro.sample("y", dist.Normal(rate.T.sigmoid(), 1.0), obs=LARGE.T)

    first, second, ran = twice(alone)
    assert not same_slice(slice_record(first, ("z",)), slice_record(second, ("z",)))
    assert [op.func for op in first.tape.ops] == [op.func for op in second.tape.ops]
    assert ran["sin"] > 0
    assert not {"tan", "atan", "cos_", "sigmoid"} & set(ran)


def test_a_large_random_number_that_nobody_needs_keeps_the_keys_of_others() -> None:
    def model(y: torch.Tensor) -> None:
        pyro.sample("unused", dist.Normal(torch.zeros(300, 300), 1.0).to_event(2))
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    _, _, ran = twice(model)
    assert ran["erfinv_"] == 1  # the normals of one site


@pytest.mark.parametrize("read", [float, lambda x: x.numpy().mean(), lambda x: x.tolist()[0]])
def test_what_python_reads_of_the_data_is_computed(read: Callable[[torch.Tensor], Any]) -> None:
    def model(y: torch.Tensor) -> None:
        large = (y[:, None] * LARGE).tan()
        scale = read(large.sum(0)[:1]) if read is float else read(large.sum(0))
        pyro.sample("z", dist.Normal(torch.full((2,), float(scale)), 1.0).to_event(1))

    _, _, ran = twice(model)
    assert ran["tan"] > 0


def test_another_course_is_recorded_in_full() -> None:
    def model(y: torch.Tensor) -> None:
        large = (y[:, None] * LARGE).tan()
        loc = large.mean(0)[:2] if y[0] > 0 else torch.zeros(2)
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    first, second, ran = twice(model, others=Y + 2)
    assert same_slice(slice_record(first, ("z",)), slice_record(second, ("z",)))
    assert ran["tan"] > 0


def test_a_skipped_result_that_the_model_hides_from_an_error_is_seen() -> None:
    def model(y: torch.Tensor) -> None:
        large = (y[:, None] * LARGE).tan()
        loc = torch.zeros(2)
        if y[0] > 0:
            try:
                loc = large.mean(0)[:2]
            except Exception:  # what a recording raises must not get lost here
                loc = torch.ones(2)
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    twice(model, others=Y + 2)


def test_a_whole_call_computes_a_very_large_likelihood_as_seldom_as_can_be() -> None:
    very_large = torch.ones(500, 20_000)

    def model(y: torch.Tensor) -> None:
        with pyro.plate("obs", 500, subsample=torch.arange(len(y))):
            z = pyro.sample("z", dist.Normal(y.sin(), 1.0))
            pyro.deterministic("rate", (z[:, None] * very_large).tan(), event_dim=1)

    def guide(y: torch.Tensor) -> None:
        with pyro.plate("obs", 500, subsample=torch.arange(len(y))):
            pyro.sample("z", dist.Normal(y, 0.5))

    options: dict[str, Any] = {"return_sites": ["z"], "return_samples": True}
    with Ran() as ran:
        found = sample(model, guide, Y, engine="sliced", num_samples=20, **options)
    whole = sample(model, guide, Y, engine="loop", num_samples=20, **options)
    assert torch.equal(*(torch.tensor(x["posterior_samples"]["z"]) for x in (found, whole)))
    assert ran.counts["tan"] == 1  # when the model was read
