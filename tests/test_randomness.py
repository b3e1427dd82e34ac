"""Keyed random operations: right distribution, a slab's rows, and numbers that never change."""

from __future__ import annotations

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.nn import functional

from pyro_posterior.randomness import (
    SLAB,
    Key,
    KeyedDraws,
    KeyNamer,
    draw_many,
    draw_one,
    fresh_seed,
    random_states,
    untouched_random_state,
)
from toy_models import assert_within

SIZE = 500
ONES = torch.ones(SIZE)

#: blake2b of "1|z|0|slab0|0" and of "1|z|0|slab0|global", first 63 bits.
GOLDEN_SEEDS = (6550773826767480621, 236628543765113272)

#: name: operation, mean and standard deviation of its values
OPERATIONS = {
    "randn": (lambda: torch.randn(SIZE), 0.0, 1.0),
    "rand": (lambda: torch.rand(SIZE), 0.5, 12**-0.5),
    "randn_like": (lambda: torch.randn_like(ONES), 0.0, 1.0),
    "rand_like": (lambda: torch.rand_like(ONES), 0.5, 12**-0.5),
    "randn of doubles": (lambda: torch.randn(SIZE, dtype=torch.float64), 0.0, 1.0),
    "normal of tensors": (lambda: torch.normal(ONES * 3, ONES * 2), 3.0, 2.0),
    "normal of a mean": (lambda: torch.normal(ONES * 3, 2.0), 3.0, 2.0),
    "normal of a scale": (lambda: torch.normal(3.0, ONES * 2), 3.0, 2.0),
    "normal of numbers": (lambda: torch.normal(3.0, 2.0, (SIZE,)), 3.0, 2.0),
    "normal that broadcasts": (
        lambda: torch.normal(torch.zeros(SIZE // 5, 5), torch.tensor([2.0])),
        0.0,
        2.0,
    ),
    "normal_": (lambda: torch.empty(SIZE).normal_(1, 2), 1.0, 2.0),
    "normal_ on a transpose": (lambda: torch.empty(5, SIZE // 5).t().normal_(1, 2), 1.0, 2.0),
    "uniform_": (lambda: torch.empty(SIZE).uniform_(2, 4), 3.0, 2 * 12**-0.5),
    "exponential_": (lambda: torch.empty(SIZE).exponential_(2), 0.5, 0.5),
    "log_normal_": (
        lambda: torch.empty(SIZE).log_normal_(0, 0.5),
        np.exp(0.125),
        ((np.exp(0.25) - 1) * np.exp(0.25)) ** 0.5,
    ),
    "geometric_": (lambda: torch.empty(SIZE).geometric_(0.5), 2.0, 2**0.5),
    "random_": (lambda: torch.empty(SIZE).random_(0, 5), 2.0, 2**0.5),
    "randint": (lambda: torch.randint(0, 5, (SIZE,)), 2.0, 2**0.5),
    "randint from 0": (lambda: torch.randint(5, (SIZE,)), 2.0, 2**0.5),
    "bernoulli": (lambda: torch.bernoulli(ONES * 0.3), 0.3, 0.21**0.5),
    "bernoulli of a number": (lambda: torch.bernoulli(ONES, 0.3), 0.3, 0.21**0.5),
    "bernoulli_": (lambda: torch.empty(SIZE).bernoulli_(0.3), 0.3, 0.21**0.5),
    "bernoulli_ of the default": (lambda: torch.empty(SIZE).bernoulli_(), 0.5, 0.5),
    "bernoulli_ of a tensor": (lambda: torch.empty(SIZE).bernoulli_(ONES * 0.3), 0.3, 0.21**0.5),
    "gamma": (lambda: torch.distributions.Gamma(ONES * 4, 2.0).sample(), 2.0, 1.0),
    "poisson": (lambda: torch.poisson(ONES * 4), 4.0, 2.0),
    "binomial": (lambda: torch.binomial(ONES * 10, ONES * 0.5), 5.0, 2.5**0.5),
    "multinomial": (
        lambda: torch.multinomial(torch.tensor([0.5, 0.5]), SIZE, replacement=True),
        0.5,
        0.5,
    ),
    "dirichlet": (
        lambda: torch.distributions.Dirichlet(torch.ones(SIZE, 2)).sample()[:, 0],
        0.5,
        12**-0.5,
    ),
    "dropout": (lambda: functional.dropout(ONES, 0.5), 1.0, 1.0),
    "categorical": (lambda: dist.Categorical(torch.ones(SIZE, 3)).sample(), 1.0, (2 / 3) ** 0.5),
    "beta": (lambda: dist.Beta(ONES, ONES).sample(), 0.5, 12**-0.5),
    "student": (lambda: dist.StudentT(9.0 * ONES).sample(), 0.0, (9 / 7) ** 0.5),
}


def keyed(operation, draw, *, seed=0, minibatch=0, local=True, site="site"):
    """One operation in a site, in one draw."""
    namer = KeyNamer(lambda msg: local)
    namer._open.append((site, local))
    with KeyedDraws(namer, seed, draw, minibatch):
        return operation()


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_have_the_right_distribution(name):
    operation, mean, sd = OPERATIONS[name]
    draws = torch.stack([keyed(operation, draw) for draw in range(2 * SLAB)]).double().numpy()
    assert draws.shape[0] == 2 * SLAB
    assert_within(draws.mean(), mean, sd / draws.size**0.5, "mean")
    assert draws.std() == pytest.approx(sd, rel=0.06)
    flat = draws.reshape(2 * SLAB, -1)
    assert len(np.unique(flat, axis=0)) == 2 * SLAB  # no two draws alike
    centred = (flat - mean) / sd
    between = [(centred[i] * centred[j]).mean() for i in range(9) for j in range(i)]
    assert_within(between, 0.0, flat.shape[1] ** -0.5, "between draws")


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_type_is_that_of_the_plain_operation(name):
    operation = OPERATIONS[name][0]
    plain, found = operation(), keyed(operation, 3)
    assert (found.shape, found.dtype) == (plain.shape, plain.dtype)
    assert found.stride() == plain.stride()


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_key_gives_one_value_whatever_was_drawn_before(name):
    operation = OPERATIONS[name][0]
    one = keyed(operation, 5)
    torch.randn(3)
    keyed(operation, 6)
    assert torch.equal(keyed(operation, 5), one)
    for other in ({"seed": 1}, {"minibatch": 1}, {"site": "other"}):
        assert not torch.equal(keyed(operation, 5, **other), one)
    constant = keyed(operation, 5, local=False)
    assert torch.equal(keyed(operation, 5, local=False, minibatch=9), constant)


def test_the_second_operation_in_a_site_is_another():
    one, two = keyed(lambda: (torch.randn(9), torch.randn(9)), 0)
    assert not torch.isin(one, two).any()


@pytest.mark.parametrize(
    ("func", "args"),
    [
        (torch.ops.aten.normal.Tensor_Tensor, (torch.zeros(4), torch.ones(4))),
        (torch.ops.aten.poisson.default, (torch.full((4,), 5.0),)),
        (torch.ops.aten._standard_gamma.default, (torch.full((4,), 5.0),)),
        (torch.ops.aten.bernoulli.default, (torch.full((4,), 0.5),)),
        (torch.ops.aten.rand_like.default, (torch.ones(4),)),
    ],
)
def test_a_draw_is_its_row_of_the_slab(func, args):
    key = Key("site", 0, True)
    many = draw_many(func, key, 7, 8, 16, 3, tuple(x.expand(16, 4) for x in args), {})
    for row in range(16):
        assert torch.equal(draw_one(func, key, 7, 8 + row, 3, args, {}), many[row])


def test_a_key_never_changes_its_meaning():
    """Results kept by users depend on these numbers."""
    key = Key("z", 0, True)
    seeds = (key.seed(1, "slab0", 0), Key("z", 0, False).seed(1, "slab0", 5))
    assert seeds == GOLDEN_SEEDS
    assert SLAB == 8


def test_sites_are_named_by_pyro():
    seen = []

    class Namer(KeyNamer):
        def next_key(self):
            seen.append(super().next_key())
            return seen[-1]

    def model():
        torch.randn(1)
        pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("p", 3):
            pyro.sample("b", dist.StudentT(3.0))
        torch.randn(1)

    namer = Namer(lambda msg: msg["name"] == "b")
    with namer, KeyedDraws(namer, 0, 0, 0):
        model()
    assert [(key.site, key.count, key.local) for key in seen] == [
        ("<free>", 0, True),
        ("a", 0, False),
        ("b", 0, True),
        ("b", 1, True),
        ("<free>", 1, True),
    ]


def test_random_states_are_put_back():
    before = random_states()
    with untouched_random_state():
        torch.randn(3), np.random.rand(3), random.random()
        torch.manual_seed(5)
        assert random_states() != before
    assert random_states() == before


def test_random_states_are_put_back_after_an_error():
    before = random_states()

    def within():
        with untouched_random_state():
            torch.randn(3), np.random.rand(3), random.random()
            raise KeyError

    with pytest.raises(KeyError):
        within()
    assert random_states() == before


def test_fresh_seeds_differ_and_do_not_follow_python():
    random.seed(1)
    one = fresh_seed()
    random.seed(1)
    assert fresh_seed() != one
    assert 0 <= one < 2**53
