"""What a model changes: its own data, in every run anew; what it keeps from run to run is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior.errors import RequestError

Y = torch.arange(1.0, 7.0)


def _prior(y: torch.Tensor) -> None:
    with pyro.plate("rows", len(y)):
        pyro.sample("z", dist.Normal(0.0, 1.0))


def _after(change: Callable[[torch.Tensor], object]) -> Callable[[torch.Tensor], None]:
    def guide(y: torch.Tensor) -> None:
        change(y)
        with pyro.plate("rows", len(y)):
            pyro.sample("z", dist.Normal(y, 0.01))

    return guide


CHANGES: dict[str, tuple[Callable[[torch.Tensor], object], Callable[[Any], Any]]] = {
    "mul_": (lambda y: y.mul_(2), lambda y: 2 * y),
    "log1p_": (lambda y: y.log1p_(), np.log1p),
    "data": (lambda y: y.data.sub_(1), lambda y: y - 1),
    "setitem": (lambda y: y.__setitem__(slice(None), y[:] + 3), lambda y: y + 3),
    "clamp_": (lambda y: y.clamp_(max=3.0), lambda y: np.minimum(y, 3)),
}


@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize("name", CHANGES)
def test_every_run_has_data_of_its_own(draw: Any, name: str, size: int) -> None:
    change, right = CHANGES[name]
    data = Y.clone()
    found = draw(_prior, _after(change), [(y,) for y in data.split(size)])
    np.testing.assert_allclose(found["post_sample_means"]["z"], right(Y.numpy()), atol=0.02)
    torch.testing.assert_close(data, Y)


def test_a_model_that_changes_what_the_guide_has_seen(draw: Any) -> None:
    def model(y: torch.Tensor) -> None:
        y.mul_(2)
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=y)

    data = Y.clone()
    found = draw(model, _after(lambda y: None), [(data,)], return_observed=True)
    np.testing.assert_allclose(found["post_sample_means"]["z"], Y.numpy(), atol=0.02)
    np.testing.assert_allclose(found["post_sample_means"]["y"], 2 * Y.numpy())
    torch.testing.assert_close(data, Y)


@pytest.mark.parametrize("recorded", [True, False])
def test_an_autoguide_that_never_ran(draw: Any, recorded: bool) -> None:
    def model(y: torch.Tensor) -> None:
        if not recorded:
            np.random.rand()
        y.add_(1)
        with pyro.plate("rows", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.deterministic("moved", y + 0 * z)
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    data = Y.clone()
    found = draw(model, AutoNormal(model), [(data,)])
    np.testing.assert_allclose(found["post_sample_means"]["moved"], Y.numpy() + 1)
    torch.testing.assert_close(data, Y)


def test_data_changed_through_numpy_are_refused(draw: Any) -> None:
    guide = _after(lambda y: np.multiply(y.numpy(), 2, out=y.numpy()))
    with pytest.raises(RequestError, match=r"changes its data, .*through numpy .*clone\(\)"):
        draw(_prior, guide, [(Y.clone(),)])
    for change in (lambda y: np.log(y.numpy()), lambda y: np.multiply(y.clone().numpy(), 2)):
        found = draw(_prior, _after(change), [(Y.clone(),)])
        np.testing.assert_allclose(found["post_sample_means"]["z"], Y.numpy(), atol=0.02)


# ------------------------------------------------------------------------------- kept between runs

_OUTSIDE = torch.ones(6)


class _Keeps(torch.nn.Module):
    shift: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.ones(6))
        self.count, self.mean = 0, torch.zeros(6)

    def buffer(self, y: torch.Tensor) -> torch.Tensor:
        return self.shift.add_(1)

    def replaced(self, y: torch.Tensor) -> torch.Tensor:
        self.shift = 0.9 * self.shift + 0.1 * y
        return self.shift

    def counter(self, y: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return y + self.count

    def attribute(self, y: torch.Tensor) -> torch.Tensor:
        self.mean = 0.5 * self.mean + 0.5 * y
        return self.mean

    def outside(self, y: torch.Tensor) -> torch.Tensor:
        return _OUTSIDE.mul_(1.01)


@pytest.mark.parametrize("way", ["buffer", "replaced", "counter", "attribute", "outside"])
def test_what_is_kept_from_run_to_run_is_refused(draw: Any, way: str) -> None:
    keeps = _Keeps()

    def guide(y: torch.Tensor) -> None:
        loc = getattr(keeps, way)(y)
        pyro.sample("m", dist.Normal(3.0, 0.01))
        with pyro.plate("rows", len(y)):
            pyro.sample("z", dist.Normal(loc, 0.01))

    def model(y: torch.Tensor) -> None:
        pyro.sample("m", dist.Normal(0.0, 1.0))
        _prior(y)

    with pytest.raises(RequestError, match=r"'z': two runs .* the guide keeps something"):
        draw(model, guide, [(Y,)])
    found = draw(model, guide, [(Y,)], return_sites=["m"])["post_sample_means"]
    np.testing.assert_allclose(found["m"], 3.0, atol=0.01)  # does not rest on it
