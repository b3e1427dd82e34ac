"""What a first recording puts off is computed by whoever looks at it, and is never seen empty."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import PosteriorWarning
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.later import LEAST_BYTES, Later
from pyro_posterior.sliced.record import record_first
from toy_models import sample

ROWS, COLUMNS = 1100, 1000
assert ROWS * COLUMNS * 4 > LEAST_BYTES


def _guide(y: torch.Tensor) -> None:
    pyro.sample("z", dist.Normal(torch.zeros(COLUMNS), 1.0).to_event(1))


def _model_that(does: Callable[[torch.Tensor, torch.Tensor], Any]) -> Callable[..., None]:
    def model(y: torch.Tensor) -> None:
        z = pyro.sample("z", dist.Normal(torch.zeros(COLUMNS), 1.0).to_event(1))
        does(y, z)

    return model


def _first(does: Callable[[torch.Tensor, torch.Tensor], Any], y: torch.Tensor) -> Any:
    sampler = JointSampler(_model_that(does), _guide, 3, None)
    return record_first(sampler, Minibatch(0, (y,)))


Y = torch.linspace(0.5, 2.0, ROWS)[:, None]


def test_arithmetic_is_done_when_somebody_looks_and_not_before() -> None:
    later, one = Later(), torch.full((ROWS, COLUMNS), 3.0)
    product = later.put_off(torch.ops.aten.mul.Tensor, (one, 2.0), {})
    total = later.put_off(torch.ops.aten.add.Tensor, (product, 1.0), {})
    assert not (total == 7.0).all()
    later.compute([total])
    assert (total == 7.0).all()
    assert later.put_off(torch.ops.aten.mul.Tensor, (one[:5], 2.0), {}) is None  # small


def _reads() -> dict[str, Callable[[torch.Tensor], Any]]:
    return {
        "item": lambda x: x[3, 4].item(),
        "sum": lambda x: x.sum().item(),
        "numpy": lambda x: float(x.numpy()[3, 4]),
        "tolist": lambda x: x[3].tolist()[4],
        "float of a view": lambda x: float(x.t()[4, 3]),
        "comparison": lambda x: bool((x > 0.1)[3, 4]),
        "array": lambda x: float(np.asarray(x)[3, 4]),
        "bincount": lambda x: torch.bincount(x.long().clamp(0, 3).reshape(-1), minlength=9)[
            1
        ].item(),
        "nonzero": lambda x: len((x > 0.1).nonzero()),
        "mask": lambda x: float(x[x > 0.1][0]),
        "repr": repr,
        "deepcopy": lambda x: float(copy.deepcopy(x)[3, 4]),
    }


@pytest.mark.parametrize("read", _reads().values(), ids=_reads())
def test_who_reads_gets_the_value(read: Callable[[torch.Tensor], Any]) -> None:
    found = []

    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        found.append(read((y * z).exp() + 1.0))
        with _disable_current_modes():
            now = (y * z).exp() + 1.0
        found.append(read(now))

    _first(does, Y)
    assert found[0] == found[1]


def test_what_is_changed_afterwards_changes_no_result() -> None:
    found = []

    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        scale = torch.full((ROWS, 1), 2.0)
        product = scale * z.detach()
        scale.fill_(7.0)
        found.append((product[5, 6].item(), 2.0 * z[6].item()))
        other = scale * z
        other.add_(1.0)
        found.append((other[5, 6].item(), 7.0 * z[6].item() + 1.0))
        third = other + 1.0
        other[5].zero_()
        found.append((third[5, 6].item(), 7.0 * z[6].item() + 2.0))

    _first(does, Y)
    for got, right in found:
        assert got == pytest.approx(right)


def test_memory_handed_to_numpy_is_read_before_numpy_writes_it() -> None:
    found = []

    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        scale = torch.full((ROWS, 1), 2.0)
        product = scale * z
        scale.numpy()[:] = 7.0
        found.append((product[5, 6].item(), 2.0 * z[6].item()))

    _first(does, Y)
    assert found[0][0] == pytest.approx(found[0][1])


def test_derivatives_inside_the_model_are_right() -> None:
    found = []

    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        with torch.enable_grad():
            x = z.clone().requires_grad_()
            ((y * x).exp() * 2.0).sum().backward()
        found.append((x.grad, (2.0 * y * (y * z).exp()).sum(0)))

    _first(does, Y)
    torch.testing.assert_close(*found[0])


def test_what_a_model_keeps_holds_numbers_when_the_run_is_over() -> None:
    kept: dict[str, torch.Tensor] = {}

    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        rates = (y * z).exp()
        kept["rates"], kept["view"], kept["z"] = rates, rates[7:9].t(), z

    _first(does, Y).read(lambda record, traces: None)
    right = (Y * kept["z"]).exp()
    torch.testing.assert_close(kept["rates"], right)
    torch.testing.assert_close(kept["view"], right[7:9].t())


def test_what_a_model_keeps_holds_numbers_when_the_run_cannot_be_recorded() -> None:
    kept: dict[str, torch.Tensor] = {}

    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        if "rates" not in kept:
            kept["rates"], kept["z"] = (y * z).exp(), z
        buffer.fill_(1.0)  # lives outside

    buffer = torch.zeros(3)
    with pytest.raises(Exception, match="lives outside"):
        _first(does, Y)
    torch.testing.assert_close(kept["rates"], (Y * kept["z"]).exp())


def test_traces_that_are_read_show_values() -> None:
    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        pyro.deterministic("rates", (y * z).exp(), event_dim=2)

    def use(record: Any, traces: Any) -> tuple[torch.Tensor, torch.Tensor]:
        nodes = traces[1].nodes
        return nodes["rates"]["value"].sum(), (Y * nodes["z"]["value"]).exp().sum()

    torch.testing.assert_close(*_first(does, Y).read(use))


def test_large_arguments_outside_their_range_are_still_found() -> None:
    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        pyro.sample("more", dist.Normal(y * z, -(y * z).exp()).to_event(2))

    with pytest.warns(PosteriorWarning, match="more"):
        sample(_model_that(does), _guide, Y, num_samples=2, return_sites=["z"])


@pytest.mark.parametrize("engine", ["loop", "sliced"])
def test_a_large_site_is_right(engine: str) -> None:
    def does(y: torch.Tensor, z: torch.Tensor) -> None:
        pyro.deterministic("rates", (y * z).exp() / 2.0, event_dim=2)

    found = sample(_model_that(does), _guide, Y, num_samples=3, engine=engine, return_samples=True)
    draws = found["posterior_samples"]
    right = np.exp(Y.numpy() * draws["z"][:, None]) / 2.0
    np.testing.assert_allclose(draws["rates"], right, rtol=1e-5)


def _many(*shape: int) -> torch.Tensor:
    return torch.ones(shape)


ATEN = torch.ops.aten
BIG = 2_000_000


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (ATEN.add.Tensor, (_many(BIG), _many(BIG - 1))),
        (ATEN.mul.Tensor, (_many(0, 1), _many(1, BIG))),
        (ATEN.mul.Tensor, (_many(BIG), 1j)),
        (ATEN.mul.Tensor, (_many(BIG), _many(BIG).double())),
        (ATEN.mul.Tensor, (_many(BIG), _many(BIG).long())),
        (ATEN.mul.Tensor, (_many(2000, 1000).t(), _many(1000, 2000))),
        (ATEN.mul.Tensor, (_many(BIG, 1).expand(BIG, 2), 2.0)),
        (ATEN.mm.default, (_many(2000, 3), _many(4, 2000))),
        (ATEN.bmm.default, (_many(2, 2000, 3), _many(3, 3, 2000))),
        (ATEN.mm.default, (_many(2000, 0), _many(0, 2000))),
    ],
)
def test_what_has_another_form_or_none_is_left_to_torch(func: Any, args: tuple[Any, ...]) -> None:
    assert Later().put_off(func, args, {}) is None


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (ATEN.add.Tensor, (_many(BIG, 1), _many(3))),
        (
            ATEN.sub.Tensor,
            (
                _many(2000, 1, 1),
                _many(1000, 3),
            ),
        ),
        (ATEN.mul.Tensor, (_many(BIG), torch.tensor(2.0))),
        (ATEN.pow.Tensor_Scalar, (_many(BIG), 2)),
        (ATEN.rsub.Scalar, (_many(BIG), 2)),
        (ATEN.softplus.default, (_many(BIG).double(),)),
        (ATEN.mm.default, (_many(3, 2000).t(), _many(3, 2000))),
        (ATEN.bmm.default, (_many(2, 2000, 3), _many(2, 3, 2000))),
        (ATEN.addmm.default, (_many(2000), _many(2000, 3), _many(3, 2000))),
        (ATEN.baddbmm.default, (_many(1, 1, 1), _many(2, 2000, 3), _many(2, 3, 2000))),
    ],
)
def test_what_stands_in_has_the_form_and_then_the_values(func: Any, args: tuple[Any, ...]) -> None:
    later, right = Later(), func(*args)
    found = later.put_off(func, args, {})
    assert (found.shape, found.stride(), found.dtype) == (right.shape, right.stride(), right.dtype)
    later.compute([found])
    assert torch.equal(found, right)
