"""Observed means that the value is the data; what is computed from draws is returned by default."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam, TransformReparam

from pyro_posterior.exports.arviz import to_arviz

Y = torch.tensor([1.0, 2.0, 3.0])


def _guided(*names):
    def guide(y):
        pyro.sample("m", dist.Normal(0.0, 1.0))
        for name in names:
            with pyro.plate("rows", len(y)):
                pyro.sample(name, dist.Normal(torch.zeros(len(y)), 1.0))

    return guide


def _delta(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        pyro.sample("by_delta", dist.Delta(2 * m + y), obs=2 * m + y)
        pyro.sample("residual", dist.Normal(0.0, 1.0), obs=y - m)
        pyro.sample("y", dist.Normal(m, 1.0), obs=y)
        pyro.sample("scaled", dist.Normal(m, 1.0), obs=y / 2)  # of data alone


@poutine.reparam(config={"z": LocScaleReparam(0.0)})
def _loc_scale(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        z = pyro.sample("z", dist.Normal(m, 2.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


@poutine.reparam(config={"z": TransformReparam()})
def _transformed(y):
    m = pyro.sample("m", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", len(y)):
        z = pyro.sample("z", dist.LogNormal(m, 2.0))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


CASES = {
    "observed from draws": (_delta, _guided(), {"by_delta", "residual"}),
    "LocScaleReparam": (_loc_scale, _guided("z_decentered"), {"z"}),
    "TransformReparam": (_transformed, _guided("z_base"), {"z"}),
}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_values_computed_from_draws_are_returned(draw, case, size):
    model, guide, computed = CASES[case]
    found = draw(model, guide, [(y,) for y in Y.split(size)])
    draws, y = found["posterior_samples"], Y.numpy()
    assert set(draws) & {"y", "scaled"} == set()
    assert computed <= set(draws)
    for name in computed:
        assert found.sites[name].kind == "deterministic"
        assert draws[name].shape == (40, 3)
    right = {
        "by_delta": lambda: 2 * draws["m"][:, None] + y,
        "residual": lambda: y - draws["m"][:, None],
        "LocScaleReparam": lambda: draws["m"][:, None] + 2 * draws["z_decentered"],
        "TransformReparam": lambda: np.exp(draws["z_base"]),
    }
    for name in computed:
        np.testing.assert_allclose(draws[name], right.get(name, right.get(case))(), rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_they_can_be_asked_for_and_are_posterior_in_exports(draw, case):
    model, guide, computed = CASES[case]
    asked = draw(model, guide, [(Y,)], return_sites=sorted(computed))
    assert set(asked["posterior_samples"]) == computed
    whole = draw(model, guide, [(Y,)], return_observed=True)
    assert whole.sites["y"].kind == "observed"
    np.testing.assert_array_equal(whole["posterior_samples"]["y"][7], Y.numpy())
    assert computed <= set(to_arviz(whole).posterior.data_vars)


def _through_python(way):
    def model(y):
        m = pyro.sample("m", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(y)):
            value = way(m) + y
            pyro.sample("made", dist.Normal(0.0, 1.0), obs=value)
            pyro.sample("by_delta", dist.Delta(value), obs=value)
            pyro.sample("y", dist.Normal(m, 1.0), obs=y)
            pyro.sample("scaled", dist.Normal(m, 1.0), obs=y / 2)

    return model


WAYS = {
    "numpy": lambda m: torch.from_numpy(np.array(m.detach().numpy() ** 2)),
    "item": lambda m: torch.tensor(m.item() ** 2),
    "float": lambda m: float(m) ** 2,
    "branch": lambda m: 0.0 if m < 0 else m**2,
    "list": lambda m: torch.tensor([x**2 for x in m.reshape(1).tolist()]),
}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("way", WAYS)
def test_values_that_python_computed_from_draws(draw, way, size):
    def guide(y):
        pyro.sample("m", dist.Normal(0.0, 1.0))

    found = draw(_through_python(WAYS[way]), guide, [(y,) for y in Y.split(size)])
    draws, kinds = found["posterior_samples"], {s: found.sites[s].kind for s in found.sites}
    assert kinds == {"m": "latent", "made": "deterministic", "by_delta": "deterministic"}
    square = draws["m"] ** 2 * ((draws["m"] > 0) | (way != "branch"))
    for name in ("made", "by_delta"):
        np.testing.assert_allclose(draws[name], square[:, None] + Y.numpy(), rtol=1e-5)
