"""Hypercubes: every stratum once, columns independent of each other, tails neither cut nor thinned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyro_posterior.keyed.fills import CAUCHY, EXPONENTIAL, NORMAL, UNIFORM, fill
from pyro_posterior.keyed.keys import Key, Where
from pyro_posterior.testing.checks import assert_within

CPU = torch.device("cpu")


def made(kind, length, columns, dtype=torch.float32, *, site="z", minibatch=0, cubes=None, seed=1):
    at = Where(seed, range(length), minibatch, (length,) if cubes is None else cubes)
    return fill(kind, Key(site, 0, True), at, (columns,), dtype, CPU)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 100, 1000, 1448, 1449, 5003])
def test_every_stratum_has_one_draw(length, dtype):
    u = made(UNIFORM, length, 40, torch.float64 if length > 1000 else dtype)
    assert ((u > 0) & (u < 1)).all()
    strata = (u.double() * length).floor().long()
    near = (u.double() * length - (u.double() * length).round()).abs() < 1e-6 * length
    strata[near] = -1  # rounding may put a number on the border
    for column in strata.T:
        known = column[column >= 0]
        assert len(torch.unique(known)) == len(known)
    assert (strata >= 0).double().mean() > 0.6


@pytest.mark.parametrize("length", [125, 250, 256, 1000])
def test_columns_are_independent(length):
    """All pairs of 2,000 columns: positions, distances from the middle, both, and steps."""
    columns = 2000
    x = (made(UNIFORM, length, columns) * length).floor().clamp_(max=length - 1).double()
    middle = (x - (length - 1) / 2).abs()
    steps = (x - x.roll(1, 0)) % length
    pairs = tuple(torch.triu_indices(columns, columns, 1))
    for one, two in ((x, x), (middle, middle), (x, middle), (steps, steps)):
        z, w = ((v - v.mean(0)) / (v - v.mean(0)).norm(dim=0) for v in (one, two))
        scaled = (z.T @ w)[pairs] * (length - 1) ** 0.5
        # 2 million pairs: the variance of their variance is about 2 over their number
        assert scaled.var().item() == pytest.approx(1.0, abs=0.008)
        assert scaled.abs().max() < 6.0


def test_each_place_is_as_likely_as_any_other():
    """Of the first draw, and of the second given the first."""
    length, columns = 20, 40_000
    x = (made(UNIFORM, length, columns) * length).floor().long().clamp_(max=length - 1)
    expected = columns / length
    for counted in (x[0], x[7], (x[1] - x[0]) % length):
        counts = torch.bincount(counted, minlength=length).double()
        first = 1 if counts[0] == 0 else 0  # two draws are never at one place
        expected = columns / (length - first)
        statistic = ((counts[first:] - expected) ** 2 / expected).sum().item()
        assert statistic < 60  # chi-squared with 19 degrees of freedom: 4e-6 by chance


@pytest.mark.parametrize(
    "other",
    [{"site": "y"}, {"minibatch": 1}, {"seed": 2}, {"seed": 1 + (1 << 32)}, {"cubes": (500, 500)}],
    ids=str,
)
def test_other_sites_minibatches_and_replicates_are_uncorrelated(other):
    one, two = made(NORMAL, 1000, 3000), made(NORMAL, 1000, 3000, **other)
    if "cubes" in other:
        one, two = two[:500], two[500:]
    products = (one.double() * two.double()).mean(0) * len(one) ** 0.5
    assert_within(products.mean(), 0.0, 3000**-0.5, "mean of correlations")
    assert products.var().item() == pytest.approx(1.0, abs=0.15)


def test_draws_behind_the_hypercube_are_independent():
    at = Where(1, range(100, 1100), 0, (100,))
    x = fill(NORMAL, Key("z", 0, True), at, (2000,), torch.float32, CPU).double()
    means = x.mean(0) * 1000**0.5
    assert means.var().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("cubes", [(), (1000,), (125,) * 8], ids=["apart", "one", "eight"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tails_are_neither_cut_nor_thinned(dtype, cubes):
    """5 million numbers: the counts beyond 3e-2 ... 3e-6 on either side are Poisson or better."""
    columns, draws = 5000, 1000
    x = made(NORMAL, draws, columns, dtype, cubes=cubes).double()
    assert torch.isfinite(x).all()
    for tail in (1e-3, 1e-4, 1e-5, 2e-6):
        bound = -torch.special.ndtri(torch.tensor(tail, dtype=torch.float64)).item()
        expected = columns * draws * tail
        for count in ((x < -bound).sum().item(), (x > bound).sum().item()):
            assert_within(count, expected, expected**0.5, f"beyond {tail}")


@pytest.mark.parametrize("length", [1, 1000])
def test_the_far_tail_has_as_many_digits_as_the_type(length):
    """Bits chosen to be extreme: the distance to the end is exact, whatever the type."""
    from pyro_posterior.keyed.uniforms import _distance

    bits = np.array([-(2**31), -(2**31) + 1, 2**31 - 1])
    below = np.array([-(2**31), 5, 2**31 - 1])
    upper = np.array([False, False, True])
    ends = np.array([-1 + 1 / length, -1 + 1 / length, 1 - 1 / length])
    found = _distance(upper, bits, below, ends if length > 1 else None, length)
    part = (below + 2.0**31 + 0.5) * 2.0**-32
    expected = np.array([part[0], 1 + part[1], 1 - part[2]]) * 2.0**-32 / length
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found[0] < 1e-19


@pytest.mark.parametrize("cubes", [(), (1000,)], ids=["apart", "stratified"])
def test_small_exponential_and_large_cauchy_numbers(cubes):
    """What float32 uniform numbers of 24 bits could not give."""
    exponential = made(EXPONENTIAL, 1000, 5000, cubes=cubes).double()
    cauchy = made(CAUCHY, 1000, 5000, cubes=cubes).double()
    for tail in (1e-4, 1e-6):
        expected = 5e6 * tail
        assert_within((exponential < tail).sum(), expected, expected**0.5, "small")
        large = -np.log(tail)
        assert_within((exponential > large).sum(), expected, expected**0.5, "large")
        far = 1 / np.tan(np.pi * tail)
        for count in ((cauchy > far).sum(), (cauchy < -far).sum()):
            assert_within(count, expected, expected**0.5, "far")
    assert len(torch.unique(exponential[exponential < 1e-5])) > 30


def test_means_and_quantiles_of_a_hypercube_hardly_vary():
    x = made(NORMAL, 1000, 2000).double()
    assert x.mean(0).var().item() < 1e-3 / 2000  # independent draws: 1e-3
    low = torch.quantile(x, 0.05, dim=0)
    assert low.var().item() < 0.05 * 0.95 / 1000 / 0.1031**2 / 300


def test_kept_words_and_words_made_anew_are_the_same(monkeypatch):
    from pyro_posterior.keyed import uniforms

    plain = made(NORMAL, 100, 3000)
    monkeypatch.setattr(uniforms, "KEPT_BYTES", 0)
    assert torch.equal(made(NORMAL, 100, 3000), plain)
