"""Distributions whose own samplers look at draws: moments known in closed form, by both engines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.special as special
import torch

from pyro_posterior import sample_posterior
from pyro_posterior.errors import PosteriorWarning

DRAWS = 4_000
Maker = Callable[[], Any]


def drawn(make: Maker, engine: Any = "sliced", count: int = DRAWS) -> np.ndarray:
    """``(draw, *shape)`` values of a site with this distribution."""

    def model() -> None:
        pyro.sample("x", make())

    options: dict[str, Any] = {"num_samples": count, "seed": 11, "show_progress": False}
    found = sample_posterior(model, model, (), engine=engine, return_samples=True, **options)
    values: np.ndarray = found["posterior_samples"]["x"].astype(float)
    return values


def assert_mean(values: np.ndarray, expected: Any) -> None:
    """The mean along the draws lies within five standard errors of what it should be."""
    error = values.std(0) / math.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(0) - expected), 5 * error + 1e-12)


CONCENTRATIONS = [1e-6, 0.2, 1.0, 5.0, 200.0]


def test_von_mises_moments() -> None:
    loc, concentration = torch.tensor(2.9), torch.tensor(CONCENTRATIONS)
    x = drawn(lambda: dist.VonMises(loc, concentration))
    assert ((x >= -math.pi) & (x <= math.pi)).all()
    ratio = [special.ive(n, CONCENTRATIONS) / special.ive(0, CONCENTRATIONS) for n in (1, 2)]
    assert_mean(np.cos(x - 2.9), ratio[0])
    assert_mean(np.cos(2 * (x - 2.9)), ratio[1])
    assert_mean(np.sin(x - 2.9), 0.0)


def test_sine_skewed_moments() -> None:
    """Its density is that of the base times ``1 + skewness sin(x - loc)``."""
    x = drawn(
        lambda: dist.SineSkewed(
            dist.VonMises(torch.tensor([0.5]), 2.0).to_event(1), torch.tensor([0.7])
        )
    )
    second = special.iv(2, 2.0) / special.iv(0, 2.0)
    assert_mean(np.sin(x - 0.5), 0.7 * (1 - second) / 2)
    assert_mean(np.cos(x - 0.5), special.iv(1, 2.0) / special.iv(0, 2.0))


@pytest.mark.parametrize("parameters", [(2.0, 3.0, 1.5), (1.0, 1.0, 3.0), (20.0, 0.5, -2.0)])
def test_sine_bivariate_von_mises_moments(parameters: tuple[float, float, float]) -> None:
    """Against its density on a grid; the second case has two modes."""
    one, two, both = parameters
    x = drawn(
        lambda: dist.SineBivariateVonMises(
            torch.tensor(1.0), torch.tensor(-2.0), torch.tensor(one), two, torch.tensor(both)
        )
    )
    angle = np.linspace(-math.pi, math.pi, 600, endpoint=False)
    phi, psi = np.meshgrid(angle, angle, indexing="ij")
    density = np.exp(one * np.cos(phi) + two * np.cos(psi) + both * np.sin(phi) * np.sin(psi))
    density /= density.sum()
    first, second = x[:, 0] - 1.0, x[:, 1] + 2.0
    for function in (
        lambda a, b: np.cos(a),
        lambda a, b: np.cos(b),
        lambda a, b: np.cos(2 * a),
        lambda a, b: np.sin(a) * np.sin(b),
        lambda a, b: np.sin(a),
    ):
        assert_mean(function(first, second), (function(phi, psi) * density).sum())


@pytest.mark.parametrize("given", ["scale_tril", "covariance_matrix", "precision_matrix"])
def test_wishart_moments(given: str) -> None:
    scale = torch.tensor([[2.0, 0.6], [0.6, 1.0]])
    matrix = {
        "scale_tril": torch.linalg.cholesky(scale),
        "covariance_matrix": scale,
        "precision_matrix": torch.linalg.inv(scale),
    }[given]
    x = drawn(lambda: dist.Wishart(torch.tensor(3.5), **{given: matrix}))
    known = scale.numpy().astype(float)
    assert_mean(x, 3.5 * known)
    diagonal = np.diag(known)
    assert_mean((x - 3.5 * known) ** 2, 3.5 * (known**2 + np.outer(diagonal, diagonal)))


def test_projected_normal_moments() -> None:
    size = 1.3
    x = drawn(lambda: dist.ProjectedNormal(torch.tensor([0.0, size])))
    np.testing.assert_allclose((x**2).sum(-1), 1, rtol=1e-5)
    part = size**2 / 4
    length = math.sqrt(math.pi / 8) * size * (special.ive(0, part) + special.ive(1, part))
    assert_mean(x, [0.0, length])


MAKERS: dict[str, Maker] = {
    "von Mises": lambda: dist.VonMises(torch.zeros(3), torch.tensor([0.1, 1.0, 30.0])),
    "sine": lambda: dist.SineBivariateVonMises(
        torch.zeros(2), torch.zeros(2), torch.ones(2), torch.ones(2), weighted_correlation=0.5
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_draw_does_not_depend_on_which_others_are_made(name: str) -> None:
    many = drawn(MAKERS[name], count=200)
    np.testing.assert_allclose(drawn(MAKERS[name], "loop", 60), many[:60], rtol=1e-6, atol=1e-6)


def test_torch_and_pyro_are_as_before() -> None:
    before = [dist.VonMises.sample, dist.SineBivariateVonMises.expand, dist.Wishart.__init__]
    drawn(MAKERS["sine"], count=5)
    assert before == [
        dist.VonMises.sample,
        dist.SineBivariateVonMises.expand,
        dist.Wishart.__init__,
    ]


def test_parameters_out_of_range_give_no_number() -> None:
    concentration = torch.tensor([math.nan, 1.0])
    with pytest.warns(PosteriorWarning, match="NaN or infinite"):
        x = drawn(lambda: dist.VonMises(torch.zeros(2), concentration), count=10)
    assert np.isnan(x[:, 0]).all()
    assert np.isfinite(x[:, 1]).all()
