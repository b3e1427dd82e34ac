"""Picking with masks and numbers, counting, and functions of functions: batched, with the loop's draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior.errors import RequestError
from toy_models import sample

MASK = torch.tensor([True, False, True, True])
TABLE = torch.arange(12.0).reshape(3, 4)
SPARSE = (TABLE * (TABLE > 4)).to_sparse()
CELLS = torch.tensor([[0, 1, 2, 0], [1, 0, 2, 1]])
PLACES = torch.tensor([0, 1, 1, 3])
Y = torch.tensor([1.0, -1.0, 2.0, 3.0])

Value = Callable[[torch.Tensor], torch.Tensor]


def normal() -> torch.Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(4), 1.0).to_event(1))


def category() -> torch.Tensor:
    return pyro.sample("k", dist.Categorical(torch.ones(3) / 3))


def _put(y: torch.Tensor) -> torch.Tensor:
    z = normal().clone()
    z[MASK] = z[MASK] * 2
    return z


def _put_numbers(y: torch.Tensor) -> torch.Tensor:
    z = normal().clone()
    z[MASK] = torch.arange(3.0)
    return z


def _put_draws(y: torch.Tensor) -> torch.Tensor:
    z = torch.zeros(4)
    z[MASK] = normal()[:3]
    return z


BATCHED: dict[str, Value] = {
    "drawn mask on both sides": lambda y: _chosen(y),
    "constant mask": lambda y: normal()[MASK],
    "mask of one axis": lambda y: (normal() * TABLE)[:, MASK],
    "mask of two axes": lambda y: (normal() * TABLE)[TABLE > 5],
    "mask from the data": lambda y: normal()[y > 0],
    "masked_select": lambda y: torch.masked_select(normal(), MASK),
    "masked_select, broadcast": lambda y: torch.masked_select(normal() * TABLE, MASK),
    "put": _put,
    "put numbers": _put_numbers,
    "put draws": _put_draws,
    "row by number": lambda y: TABLE[category()],
    "column by number": lambda y: TABLE[:, category()],
    "last axis by number": lambda y: TABLE[..., category()],
    "by number and slice": lambda y: TABLE[category(), None, :2],
    "from the end": lambda y: TABLE[category() - 3],
    "draw by number": lambda y: normal()[category()],
    "vmap": lambda y: torch.vmap(lambda a, b: a * b + 1)(normal(), TABLE[0]),
    "vmap over a draw": lambda y: (lambda z: torch.vmap(lambda a: (a * z).sum())(TABLE))(normal()),
    "gradient": lambda y: torch.func.grad(lambda a: (a.sin() * TABLE[1]).sum())(normal()),
    "Jacobian": lambda y: torch.func.jacrev(lambda a: a.sin() * TABLE[1])(normal()),
    "directions": lambda y: torch.func.jvp(torch.sin, (normal(),), (TABLE[2],))[1],
    "weights counted": lambda y: torch.bincount(PLACES, weights=normal(), minlength=4),
    "draws counted": lambda y: torch.bincount(category().reshape(1), minlength=3),
    "sparse draws": lambda y: TABLE[:, :3] @ _sparse(normal()),
    "sparse draws made dense": lambda y: _sparse(normal()).to_dense(),
    "sparse product": lambda y: torch.sparse.mm(torch.eye(4).to_sparse(), normal()[:, None]),
    "sparse matrix": lambda y: SPARSE @ normal()[:, None],
    "scatter_add": lambda y: torch.zeros(5).scatter_add(0, PLACES, normal()),
    "index_add": lambda y: torch.zeros(5).index_add(0, PLACES, normal()),
}


@pytest.mark.parametrize("value", BATCHED.values(), ids=BATCHED)
def test_many_draws_at_once(value: Value) -> None:
    def model(y: torch.Tensor) -> None:
        pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.deterministic("out", value(y))

    options = {"num_samples": 20, "return_samples": True}
    loop = sample(model, model, (Y,), engine="loop", **options)
    sliced = sample(model, model, (Y,), engine="sliced", **options)
    assert sliced.plan.engine == "batched slice"
    for name, draws in loop["posterior_samples"].items():
        assert sliced["posterior_samples"][name].dtype == draws.dtype
        np.testing.assert_allclose(sliced["posterior_samples"][name], draws, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("flow", ["spline", "spline_autoregressive", "spline_coupling"])
def test_spline_flows(flow: str) -> None:
    torch.manual_seed(0)
    transform = getattr(dist.transforms, flow)(3)

    def model(y: torch.Tensor) -> None:
        base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
        pyro.sample("z", dist.TransformedDistribution(base, [transform]))

    options = {"num_samples": 20, "return_samples": True}
    loop = sample(model, model, (Y,), engine="loop", **options)
    sliced = sample(model, model, (Y,), engine="sliced", **options)
    assert sliced.plan.engine == "batched slice"
    draws = [each["posterior_samples"]["z"] for each in (loop, sliced)]
    np.testing.assert_allclose(draws[1], draws[0], rtol=1e-5, atol=1e-6)


def test_cholesky_factors_under_an_autoguide() -> None:
    def model(y: torch.Tensor) -> None:
        factor = pyro.sample("factor", dist.LKJCholesky(3, 2.0))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(3), scale_tril=factor), obs=y[:3])

    guide = AutoNormal(model)
    guide(Y)
    options = {"num_samples": 20, "return_samples": True}
    loop = sample(model, guide, (Y,), engine="loop", **options)
    sliced = sample(model, guide, (Y,), engine="sliced", **options)
    assert sliced.plan.engine == "batched slice"
    draws = [each["posterior_samples"]["factor"] for each in (loop, sliced)]
    np.testing.assert_allclose(draws[1], draws[0], rtol=1e-5, atol=1e-6)


def test_a_mask_from_the_data_has_as_many_values_as_its_minibatch() -> None:
    def model(y: torch.Tensor, index: torch.Tensor) -> None:
        with pyro.plate("obs", 12, subsample=index):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(y)), 1.0))
            pyro.deterministic("out", z[y > 0].sum() + 0 * z)

    data = (torch.tensor([1.0, -1, 1, -1, 1, 1, 1, -1, -1, 1, -1, 1]), torch.arange(12))
    options = {"num_samples": 9, "return_samples": True, "batch_size": 4}
    loop = sample(model, model, data, engine="loop", **options)
    sliced = sample(model, model, data, engine="sliced", **options)
    for name, draws in loop["posterior_samples"].items():
        np.testing.assert_allclose(sliced["posterior_samples"][name], draws, rtol=1e-5, atol=1e-6)


def _sparse(z: torch.Tensor) -> torch.Tensor:
    return torch.sparse_coo_tensor(CELLS, z, size=(3, 3), check_invariants=False)


def _chosen(y: torch.Tensor) -> torch.Tensor:
    z, out = normal(), torch.zeros(4)
    inside = z > 0
    outside = ~inside
    out[inside] = z[inside]
    out[outside] = y[outside]
    return out


def _counted(y: torch.Tensor) -> torch.Tensor:
    z, out = normal(), torch.zeros(4)
    picked = z[z > 0]
    out[z > 0] = picked
    return out + len(picked)  # Python knows how many there are


def _writes_to_the_row(y: torch.Tensor) -> torch.Tensor:
    table = TABLE.clone()
    row = table[category()]
    row.add_(100.0)  # a view in the loop
    return table.sum()


def _writes_to_the_table(y: torch.Tensor) -> torch.Tensor:
    table = TABLE.clone()
    row = table[category()]
    table.mul_(2.0)
    return row


def _out_of_range(y: torch.Tensor) -> torch.Tensor:
    k = pyro.sample("k", dist.Poisson(torch.tensor(0.2)))
    return torch.nn.functional.one_hot(k.long().clamp(max=2), 3)


@pytest.mark.parametrize(
    "value", [_writes_to_the_row, _writes_to_the_table, _out_of_range, _counted]
)
def test_a_view_stays_one(value: Value) -> None:
    def model(y: torch.Tensor) -> None:
        pyro.deterministic("out", value(y))

    options = {"num_samples": 20, "return_samples": True}
    loop = sample(model, model, (Y,), engine="loop", **options)
    auto = sample(model, model, (Y,), engine="auto", **options)
    np.testing.assert_array_equal(
        auto["posterior_samples"]["out"], loop["posterior_samples"]["out"]
    )


@pytest.mark.parametrize("engine", ["loop", "auto"])
def test_a_draw_beyond_the_classes_is_the_loops_error(engine: str) -> None:
    def model(y: torch.Tensor) -> None:
        k = pyro.sample("k", dist.Poisson(torch.tensor(1.0)))
        pyro.deterministic("out", torch.nn.functional.one_hot(k.long(), 5))

    with pytest.raises(RuntimeError, match="Class values must be smaller"):
        sample(model, model, (Y,), engine=engine, num_samples=2000, seed=1)


@pytest.mark.parametrize("engine", ["loop", "auto"])
def test_operators_that_take_functions_are_refused_in_words(engine: str) -> None:
    def model(y: torch.Tensor) -> None:
        z = normal()
        choice = torch.cond(y.sum() > 0, lambda a: a * 2, lambda a: a * 3, (z,))
        pyro.deterministic("out", choice)

    with pytest.raises(RequestError, match=r"torch\.cond.*write torch\.where"):
        sample(model, model, (Y,), engine=engine, num_samples=5)
