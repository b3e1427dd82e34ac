"""Rows that a model or guide picks at random by hand are never mixed; other free numbers are let be."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from pyro_posterior.errors import RequestError

Y = torch.arange(8.0) * 10 + 0.5
HAND = "picks at random by hand"


def _start(n: int) -> slice:
    first = int(torch.randint(0, n - 2, ()))
    return slice(first, first + 3)


def _start_of_python(n: int) -> slice:
    first = random.randrange(n - 2)
    return slice(first, first + 3)


INDEXES: dict[str, Callable[[int], Any]] = {
    "randperm": lambda n: torch.randperm(n)[:3],
    "randint": lambda n: torch.randint(n, (3,)),
    "multinomial": lambda n: torch.multinomial(torch.ones(n), 3),
    "argsort": lambda n: torch.rand(n).argsort()[:3],
    "tolist": lambda n: torch.randperm(n)[:3].tolist(),
    "slice": _start,
    "numpy": lambda n: np.random.choice(n, 3, replace=False),
    "from_numpy": lambda n: torch.from_numpy(np.random.permutation(n)[:3]),
    "python": lambda n: random.sample(range(n), 3),
    "slice of Python": _start_of_python,
}
PICKED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{name: (lambda y, i=index: y[i(len(y))]) for name, index in INDEXES.items()},  # type: ignore[misc]
    "index_select": lambda y: y.index_select(0, torch.randperm(len(y))[:3]),
    "gather": lambda y: y.gather(0, torch.randperm(len(y))[:3]),
    "take": lambda y: y.take(torch.randint(len(y), (3,))),
    "embedding": lambda y: F.embedding(torch.randint(len(y), (3,)), y[:, None])[:, 0],
    "one_hot": lambda y: F.one_hot(torch.randperm(len(y))[:3], len(y)).float() @ y,
    "mask": lambda y: y[torch.rand(len(y)) < 0.9][:3],
    "roll": lambda y: y.roll(int(torch.randint(len(y), ())))[:3],
    "in NumPy": lambda y: torch.from_numpy(np.random.choice(y.numpy(), 3)),
    "computed": lambda y: (2 * y + 1)[torch.randperm(len(y))[:3]],
    "put": lambda y: torch.zeros(len(y)).index_put((torch.randperm(len(y)),), y)[:3],
}


def _in_plate(locs: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], None]:
    def body(y: torch.Tensor) -> None:
        pyro.sample("m", dist.Normal(7.0, 0.01))
        with pyro.plate("rows", 3):
            pyro.sample("z", dist.Normal(locs(y), 0.1))

    return body


@pytest.mark.parametrize("name", PICKED)
def test_rows_picked_by_hand_are_refused(draw: Any, name: str) -> None:
    body = _in_plate(PICKED[name])
    with pytest.raises(RequestError, match=f"'z' .*{HAND}"):
        draw(body, body, [(Y,)])
    found = draw(body, body, [(Y,)], return_sites=["m"])["post_sample_means"]
    np.testing.assert_allclose(found["m"], 7.0, atol=0.01)  # rests on none of them


@pytest.mark.parametrize("name", ["randperm", "numpy"])
def test_without_a_plate_and_in_minibatches(draw: Any, name: str) -> None:
    def body(y: torch.Tensor) -> None:
        pyro.sample("z", dist.Normal(PICKED[name](y), 0.1).to_event(1))

    for size in (4, 8):
        with pytest.raises(RequestError, match=f"'z' .*{HAND}"):
            draw(body, body, [(y,) for y in Y.split(size)])


@pytest.mark.parametrize("name", ["randperm", "randint", "numpy", "from_numpy"])
def test_a_plate_whose_rows_are_picked_by_hand(draw: Any, name: str) -> None:
    def body(y: torch.Tensor) -> None:
        rows = torch.as_tensor(INDEXES[name](8))
        pyro.sample("m", dist.Normal(7.0, 0.01))
        with pyro.plate("rows", 8, subsample=rows) as i:
            pyro.sample("z", dist.Normal(y[i], 0.1))

    with pytest.raises(RequestError, match=f"'z' lies in plate 'rows', .*{HAND}"):
        draw(body, body, [(Y,)])


def test_columns_picked_by_hand(draw: Any) -> None:
    def body(y: torch.Tensor) -> None:
        some = y[:, torch.randperm(5)[:2]]
        with pyro.plate("rows", len(y), dim=-2), pyro.plate("some", 2, dim=-1):
            pyro.sample("z", dist.Normal(some, 0.1))

    y = Y[:, None] + torch.arange(5.0)
    for size in (4, 8):
        with pytest.raises(RequestError, match=HAND):
            draw(body, body, [(part,) for part in y.split(size)])


def test_a_guide_that_picks_from_its_own_table(draw: Any) -> None:
    def guide(y: torch.Tensor) -> None:
        locs = pyro.param("locs", lambda: Y.clone())
        with pyro.plate("rows", 3):
            pyro.sample("z", dist.Normal(locs[torch.randperm(8)[:3]], 0.1))

    def model(y: torch.Tensor) -> None:
        with pyro.plate("rows", 3):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=y[:3])

    with pytest.raises(RequestError, match=HAND):
        draw(model, guide, [(Y,)])


@pytest.mark.parametrize("name", ["randperm", "numpy"])
def test_latents_beside_data_picked_by_hand(draw: Any, name: str) -> None:
    """The data of the plate are others in every draw; what is global is not."""

    def model(y: torch.Tensor) -> None:
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 3):
            z = pyro.sample("z", dist.Normal(m, 1.0))
            pyro.sample("y", dist.Normal(z, 1.0), obs=PICKED[name](y))

    def guide(y: torch.Tensor) -> None:
        pyro.sample("m", dist.Normal(7.0, 0.01))
        with pyro.plate("rows", 3):
            pyro.sample("z", dist.Normal(torch.arange(3.0), 0.1))

    with pytest.raises(RequestError, match=f"'z' lies in plate 'rows', .*{HAND}"):
        draw(model, guide, [(Y,)])
    found = draw(model, guide, [(Y,)], return_sites=["m"])["post_sample_means"]
    np.testing.assert_allclose(found["m"], 7.0, atol=0.01)


def test_a_generator_of_the_models_own(draw: Any) -> None:
    own = np.random.default_rng()
    body = _in_plate(lambda y: y[torch.from_numpy(own.permutation(8)[:3])])
    with pytest.raises(RequestError, match=r"'z': .* picks rows at random with a generator"):
        draw(body, body, [(Y,)])


# ---------------------------------------------------------------------------------- not picked

FREE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "noise": lambda y: y + 0.01 * torch.randn(len(y)),
    "signs": lambda y: y + torch.tensor([-0.1, 0.1])[torch.randint(2, (len(y),))],
    "components": lambda y: y + _SHIFTS[torch.multinomial(torch.ones(2), len(y), True)],
    "gumbel": lambda y: y + F.gumbel_softmax(torch.zeros(len(y), 2), hard=True) @ _SHIFTS,
    "where": lambda y: torch.where(torch.rand(len(y)) < 0.5, y, y + 0.1),
    "numpy noise": lambda y: y + torch.from_numpy(np.random.normal(0, 0.01, len(y))).float(),
    "coin": lambda y: y + random.choice([-0.1, 0.1]),
    "float": lambda y: y + 0.01 * float(torch.rand(())),
}
_SHIFTS = torch.tensor([-0.1, 0.1])


@pytest.mark.parametrize("name", FREE)
def test_other_random_numbers_outside_sites(draw: Any, name: str) -> None:
    def body(y: torch.Tensor) -> None:
        with pyro.plate("rows", len(y)):
            pyro.sample("z", dist.Normal(FREE[name](y), 0.01))

    for size in (4, 8):
        found = draw(body, body, [(y,) for y in Y.split(size)])
        np.testing.assert_allclose(found["post_sample_means"]["z"], Y.numpy(), atol=0.2)


def test_an_index_that_a_site_draws_is_a_variable(draw: Any) -> None:
    def body(y: torch.Tensor) -> None:
        k = pyro.sample("k", dist.Categorical(torch.ones(8)))
        pyro.deterministic("picked", y[k])
        with pyro.plate("rows", len(y)):
            kind = pyro.sample("kind", dist.Categorical(torch.ones(2)))
            pyro.deterministic("shift", _SHIFTS[kind])

    found = draw(body, body, [(Y,)])["posterior_samples"]
    np.testing.assert_allclose(found["picked"], Y.numpy()[found["k"]])
    np.testing.assert_allclose(found["shift"], _SHIFTS.numpy()[found["kind"]])
