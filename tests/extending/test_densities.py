"""Log densities of a plate of fixed size, of sites drawn from the model, of guides of all kinds."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal

from pyro_posterior import sample_posterior

QUIET = {"show_progress": False, "return_samples": True, "seed": 3, "num_samples": 100}
Y = torch.randn(23, generator=torch.Generator().manual_seed(0))


def model(y):
    """Its plate has as many rows as the data, and no other number of them."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    with pyro.plate("obs", 23):
        z = pyro.sample("z", dist.LogNormal(mu, 0.5))
        pyro.sample("y", dist.Normal(z, s), obs=y)


def of_draws(got):
    return {name: torch.as_tensor(np.array(value)).double() for name, value in got.draws.items()}


def log_p(d):
    return (
        dist.Normal(0.0, 1.0).log_prob(d["mu"])
        + dist.LogNormal(0.0, 1.0).log_prob(d["s"])
        + dist.LogNormal(d["mu"][:, None], 0.5).log_prob(d["z"]).sum(1)
        + dist.Normal(d["z"], d["s"][:, None]).log_prob(Y.double()).sum(1)
    )


@pytest.mark.parametrize("engine", ["loop", "sliced"])
@pytest.mark.parametrize("kind", [AutoNormal, AutoDiagonalNormal])
def test_autoguides(kind, engine):
    pyro.clear_param_store()
    guide = kind(model)
    guide(Y)
    got = sample_posterior(
        model, guide, (Y,), log_likelihood=True, obs_plate="obs", engine=engine, **QUIET
    )
    d = of_draws(got)
    np.testing.assert_allclose(got.log_p, log_p(d), rtol=1e-5, atol=1e-4)
    if kind is AutoNormal:
        loc, scale = (
            {name: getattr(where, name).detach() for name in d}
            for where in (guide.locs, guide.scales)
        )
    else:  # one vector: mu, s, z
        loc, scale = (
            {"mu": x[0], "s": x[1], "z": x[2:]} for x in (guide.loc.detach(), guide.scale.detach())
        )
    log_q = dist.Normal(loc["mu"], scale["mu"]).log_prob(d["mu"])
    log_q += dist.LogNormal(loc["s"], scale["s"]).log_prob(d["s"])
    log_q += dist.LogNormal(loc["z"], scale["z"]).log_prob(d["z"]).sum(1)
    np.testing.assert_allclose(got.log_q, log_q, rtol=1e-5, atol=1e-4)
    pointwise = got.khat().pointwise
    # A guide that draws all rows at once has no density of each.
    assert (pointwise.shape == (23,)) if kind is AutoNormal else (pointwise is None)


@pytest.mark.parametrize("engine", ["loop", "sliced"])
@pytest.mark.filterwarnings("ignore::pyro_posterior.warn.PosteriorWarning")
def test_sites_that_no_guide_gives_weigh_nothing(engine):
    """They are drawn from the model: its density is theirs in p and in q."""

    def guide(y):
        pyro.sample("mu", dist.Normal(0.0, 0.2))
        pyro.sample("s", dist.LogNormal(0.0, 0.1))

    got = sample_posterior(
        model,
        guide,
        (Y,),
        log_likelihood=True,
        predictive=True,
        obs_plate="obs",
        engine=engine,
        **QUIET,
    )
    d = of_draws(got)
    log_q = dist.Normal(0.0, 0.2).log_prob(d["mu"]) + dist.LogNormal(0.0, 0.1).log_prob(d["s"])
    log_q += dist.LogNormal(d["mu"][:, None], 0.5).log_prob(d["z"]).sum(1)
    np.testing.assert_allclose(got.log_q, log_q, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(got.log_p, log_p(d), rtol=1e-5, atol=1e-4)


def test_rows_derived_from_a_plate_of_fixed_size():
    def guide(y):
        pyro.sample("mu", dist.Normal(0.0, 0.2))
        pyro.sample("s", dist.LogNormal(0.0, 0.1))
        with pyro.plate("obs", 23):
            pyro.sample("z", dist.LogNormal(0.0, 0.3))

    labels = list("ab" * 11) + [None]
    got = sample_posterior(
        model,
        guide,
        (Y,),
        obs_plate="obs",
        derived={"log_z": lambda s: s["z"].log(), "scaled": lambda s: s["s"] * 2},
        grouped={"by": ("log_z", labels, "sum")},
        **QUIET,
    )
    assert (got.site("log_z").scope, got.site("scaled").scope) == ("local", "global")
    np.testing.assert_allclose(
        got.draws["by"][:, 1], np.log(got.draws["z"][:, 1::2]).sum(1), rtol=1e-4
    )


@pytest.mark.filterwarnings("ignore:the data have 2 values that are NaN")
@pytest.mark.parametrize("where", ["handler", "distribution"])
@pytest.mark.parametrize("filled", [0.0, float("nan")])
def test_what_a_mask_hides_adds_nothing(where, filled):
    y = Y.clone()
    y[[2, 5]] = filled
    there = torch.ones(len(y), dtype=torch.bool)
    there[[2, 5]] = False

    def masked(y, there):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("obs", len(y)):
            if where == "handler":
                with poutine.mask(mask=there), poutine.scale(scale=3.0):
                    pyro.sample("y", dist.Normal(mu, 0.7), obs=y)
            else:
                pyro.sample("y", dist.Normal(mu, 0.7).mask(there), obs=y)

    def guide(y, there):
        pyro.sample("mu", dist.Normal(0.5, 0.2))

    got = sample_posterior(masked, guide, (y, there), log_likelihood=True, **QUIET)
    mu = torch.as_tensor(got.draws["mu"]).double()
    exact = dist.Normal(mu[:, None], 0.7).log_prob(y.nan_to_num().double()) * there
    np.testing.assert_allclose(got.log_likelihood, exact, rtol=1e-5)
    log_p = exact.sum(1) + dist.Normal(0.0, 1.0).log_prob(mu)
    np.testing.assert_allclose(got.log_p, log_p, rtol=1e-5)
