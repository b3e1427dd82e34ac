"""Draws lie in memory of their own, and what the caller's model holds is never left empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta

from pyro_posterior.errors import MemoryRanOutError
from pyro_posterior.sliced.failures import as_reason, out_of_memory
from toy_models import sample

COLUMNS = 70_000  # large enough for results that nothing needs to be skipped


def test_fixed_values_are_no_memory_of_the_model(engine: str) -> None:
    buffer = torch.arange(3.0)

    def model(y: torch.Tensor) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.deterministic("same", w)
        pyro.deterministic("buffer", buffer)
        pyro.deterministic("data", y)
        pyro.sample("y", dist.Normal(w, 1.0).to_event(1), obs=y)

    guide, y = AutoDelta(model), torch.ones(3)
    guide(y)
    held = [buffer, y, *(parameter.data for parameter in guide.parameters())]
    before = [x.clone() for x in held]
    found = sample(model, guide, (y,), num_samples=5, return_samples=True, engine=engine)
    draws = found["posterior_samples"]
    expected = {name: values.copy() for name, values in draws.items()}
    for x in held:
        x.add_(100.0)  # training goes on
    for name, values in draws.items():
        assert np.array_equal(values, expected[name])
    for x, value in zip(held, before, strict=True):
        x.copy_(value)
    for values in draws.values():
        values[0] = -7.0
    for name, values in draws.items():
        assert np.array_equal(values[1:], expected[name][1:])
    assert all(torch.equal(x, value) for x, value in zip(held, before, strict=True))


def test_sites_that_are_one_tensor_are_two_results(engine: str) -> None:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.deterministic("same", z)

    draws = sample(
        model, model, (torch.ones(2),), num_samples=5, return_samples=True, engine=engine
    )
    z, same = (draws["posterior_samples"][name] for name in ("z", "same"))
    expected = same.copy()
    z[:] = 0.0
    assert np.array_equal(same, expected)


class Caching:
    """Keeps what it computes for a minibatch, and the last rates."""

    def __init__(self, reads: bool = False) -> None:
        self.cache: dict[int, torch.Tensor] = {}
        self.reads = reads

    def __call__(self, x: torch.Tensor, index: torch.Tensor) -> None:
        key = int(index[0])
        if key not in self.cache:
            self.cache[key] = (x[:, None] * torch.ones(1, COLUMNS)).exp()
        with pyro.plate("obs", 12, subsample=index, dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))
            with pyro.plate("columns", COLUMNS, dim=-1):
                self.rate = pyro.deterministic("rate", self.cache[key] * z.exp())
                self.rate.mul_(2.0)
                if self.reads and key == 8:
                    float(self.rate.sum())
                pyro.sample("y", dist.Poisson(self.rate), obs=torch.zeros(len(x), COLUMNS))


def caching_guide(x: torch.Tensor, index: torch.Tensor) -> None:
    with pyro.plate("obs", 12, subsample=index, dim=-2):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0))


@pytest.mark.parametrize("reads", [False, True])
def test_what_the_model_keeps_is_whole(reads: bool) -> None:
    x = torch.linspace(0.5, 1.5, 12)
    data = [(x[s : s + 4].clone(), torch.arange(s, s + 4)) for s in (0, 4, 8)]
    model, options = Caching(reads), {"num_samples": 4, "obs_plate": "obs", "engine": "auto"}
    sample(model, caching_guide, data, return_sites=["z"], **options)
    for key, held in model.cache.items():
        assert torch.equal(held, (x[key : key + 4, None] * torch.ones(1, COLUMNS)).exp())
    rows = model.rate / model.rate[:, :1]
    torch.testing.assert_close(rows, torch.ones_like(rows))
    assert bool((model.rate > 0).all())


def _too_large(kind: str) -> Any:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        if kind == "always" or float(y[0]) > 0:
            pyro.deterministic("out", torch.empty(10**14) * z)

    return model


@pytest.mark.parametrize("engine", ["loop", "auto", "sliced"])
def test_memory_that_ran_out_is_an_error_that_says_so(engine: str) -> None:
    with pytest.raises(MemoryRanOutError, match="memory ran out .*batch_size"):
        sample(_too_large("always"), _too_large("always"), (torch.ones(2),), engine=engine)


def test_memory_of_a_later_minibatch_is_no_reason_for_the_loop() -> None:
    model = _too_large("later")

    def local(y: torch.Tensor) -> None:
        with pyro.plate("obs", 6, subsample=torch.arange(len(y))):
            pyro.sample("x", dist.Normal(torch.zeros(len(y)), 1.0))
        model(y)

    data = (torch.tensor([-1.0, -1, 1, 1, -1, -1]),)
    with pytest.raises(MemoryRanOutError):
        sample(local, local, data, engine="auto", batch_size=2, return_sites=["x"], num_samples=4)


def test_only_lack_of_memory_counts_as_such() -> None:
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="recording the model failed: shape mismatch$"):
        with as_reason("recording"):
            raise ValueError("shape mismatch\nand more")


@pytest.mark.parametrize("engine", ["loop", "auto", "sliced"])
def test_a_site_that_is_a_negated_view_is_a_result(engine: str) -> None:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.deterministic("out", torch.complex(y[:3], z).conj().imag, event_dim=1)

    def guide(y: torch.Tensor) -> None:
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    found = sample(
        model, guide, (torch.ones(3),), engine=engine, num_samples=9, return_samples=True
    )
    draws = found["posterior_samples"]
    np.testing.assert_array_equal(draws["out"], -draws["z"])
