"""Summed-out discrete sites drawn given each joint draw: exact probabilities, joint with each other."""

from __future__ import annotations

import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import config_enumerate

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError
from pyro_posterior.posterior import Posterior

QUIET = {"show_progress": False, "return_samples": True, "seed": 3}
Y = torch.randn(23, 3, generator=torch.Generator().manual_seed(0))


@config_enumerate
def mixture(y):
    w = pyro.sample("w", dist.Dirichlet(torch.ones(3)))
    mu = pyro.sample("mu", dist.Normal(torch.zeros(3), 3.0).to_event(1))
    with pyro.plate("obs", 23, subsample_size=len(y)):
        z = pyro.sample("z", dist.Categorical(w))
        b = pyro.sample("b", dist.Bernoulli(0.3))
        pyro.sample("y", dist.Normal(mu[z] + b, 0.7), obs=y[:, 0])


def mixture_guide(y):
    pyro.sample("w", dist.Dirichlet(torch.tensor([5.0, 10.0, 15.0])))
    pyro.sample("mu", dist.Normal(torch.tensor([-1.0, 0.0, 2.0]), 0.1).to_event(1))


def responsibilities(got):
    """``(draw, obs, z, b)``, given the rest of each draw."""
    w, mu = (torch.as_tensor(np.asarray(got.draws[name])).double() for name in ("w", "mu"))
    y = Y[:, :1].double()
    log_p = [
        w.log()[:, None] + np.log(q) + dist.Normal(mu[:, None] + b, 0.7).log_prob(y)
        for b, q in ((0, 0.7), (1, 0.3))
    ]
    joint = torch.stack(log_p, -1)
    return (joint - joint.flatten(2).logsumexp(-1)[..., None, None]).exp().numpy()


@pytest.mark.parametrize(
    ("engine", "batch_size", "draws"),
    [("loop", None, 40), ("sliced", 1, 40), ("sliced", 7, 2000), ("sliced", None, 2000)],
)
def test_a_mixture(engine, batch_size, draws):
    got = sample_posterior(
        mixture,
        mixture_guide,
        (Y,),
        num_samples=draws,
        batch_size=batch_size,
        infer_discrete=True,
        predictive=True,
        engine=engine,
        **QUIET,
    )
    exact = responsibilities(got)
    np.testing.assert_allclose(got.draws["z_probs"], exact.sum(3), atol=2e-6)
    np.testing.assert_allclose(got.draws["b_probs"], exact.sum(2), atol=2e-6)
    z, b = (got.draws[name].astype(int) for name in ("z", "b"))
    both = np.stack([(3 * b + z == k).mean(0) for k in range(6)], -1).reshape(23, 2, 3)
    error = 4.5 * np.sqrt(0.25 / draws)
    np.testing.assert_allclose(both.swapaxes(1, 2), exact.mean(0), atol=error)
    predicted = got.draws["y"] - np.take_along_axis(got.draws["mu"], z, 1) - b
    assert predicted.std() == pytest.approx(0.7, rel=0.15 if draws < 100 else 0.02)


def test_engines_agree():
    draw = {"num_samples": 24, "infer_discrete": True, "batch_size": 12, **QUIET}
    one, two = (
        sample_posterior(mixture, mixture_guide, (Y,), engine=engine, **draw)
        for engine in ("loop", "sliced")
    )
    assert two.plan.engine == "batched slice"
    np.testing.assert_array_equal(one.draws["z"], two.draws["z"])
    np.testing.assert_allclose(one.draws["z_probs"], two.draws["z_probs"], atol=1e-6)


TURN = torch.tensor([[0.8, 0.2], [0.3, 0.7]])


def hidden_markov(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 3.0).to_event(1))
    with pyro.plate("obs", 23, subsample_size=len(y)):
        z = torch.zeros((), dtype=torch.long)
        for t in pyro.markov(range(3)):
            z = pyro.sample(f"z{t}", dist.Categorical(TURN[z]))
            pyro.sample(f"y{t}", dist.Normal(mu[z], 0.7), obs=y[:, t])


def hidden_guide(y):
    pyro.sample("mu", dist.Normal(torch.tensor([-1.0, 1.0]), 0.3).to_event(1))


def of_paths(got):
    """Probability ``(draw, obs, path)`` of every path, given the means."""
    mu, turn = torch.as_tensor(got.draws["mu"]).double(), TURN.double().log()
    found = []
    for path in itertools.product((0, 1), repeat=3):
        log_p = turn[0, path[0]] + turn[path[0], path[1]] + turn[path[1], path[2]]
        for t, state in enumerate(path):
            log_p = log_p + dist.Normal(mu[:, None, state], 0.7).log_prob(Y[:, t].double())
        found.append(log_p)
    return torch.stack(found, -1).softmax(-1).numpy()


@pytest.mark.parametrize("how", [True, "mode"])
def test_paths_of_a_hidden_markov_model(how):
    got = sample_posterior(
        hidden_markov,
        hidden_guide,
        (Y,),
        num_samples=1000,
        batch_size=7,
        infer_discrete=how,
        engine="sliced",
        **QUIET,
    )
    exact = of_paths(got)
    drawn = sum(got.draws[f"z{t}"].astype(int) << (2 - t) for t in range(3))
    if how == "mode":
        np.testing.assert_array_equal(drawn, exact.argmax(-1))
    else:
        shares = np.stack([(drawn == path).mean(0) for path in range(8)], -1)
        np.testing.assert_allclose(shares, exact.mean(0), atol=0.07)
    last_is_one = exact[..., 1::2].sum(-1)
    np.testing.assert_allclose(got.draws["z2_probs"][..., 1], last_is_one, atol=2e-6)


def test_groups_of_probabilities_in_a_store(tmp_path):
    pytest.importorskip("zarr")
    labels = np.array(list("ab" * 11) + ["a"])
    got = sample_posterior(
        mixture,
        mixture_guide,
        (Y,),
        num_samples=50,
        batch_size=7,
        infer_discrete=True,
        grouped={"by": ("z_probs", labels, "mean")},
        store=tmp_path / "s",
        **QUIET,
    )
    exact = responsibilities(got).sum(3)
    for posterior in (got, Posterior.open(tmp_path / "s")):
        np.testing.assert_allclose(
            posterior.draws["by"][:, 0], exact[:, labels == "a"].mean(1), atol=2e-6
        )


def test_a_discrete_site_of_all_observations_needs_them_all():
    def model(y):
        z = pyro.sample("z", dist.Categorical(torch.ones(2)))
        mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 3.0).to_event(1))
        with pyro.plate("obs", 23, subsample_size=len(y)):
            pyro.sample("y", dist.Normal(mu[z], 0.7), obs=y[:, 0])

    options = {"num_samples": 8, "infer_discrete": True, "obs_plate": "obs", **QUIET}
    got = sample_posterior(model, hidden_guide, (Y,), **options)
    mu = torch.as_tensor(got.draws["mu"]).double()
    log_p = dist.Normal(mu[:, None], 0.7).log_prob(Y[:, :1].double()).sum(1)
    np.testing.assert_allclose(got.draws["z_probs"], log_p.softmax(-1), atol=2e-5)
    with pytest.raises(RequestError, match="'z' has no row per observation.*in one call"):
        sample_posterior(model, hidden_guide, (Y,), batch_size=7, return_sites=["z"], **options)


def no_data(y):
    mixture(y)
    pyro.sample("free", dist.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (no_data, {}, "'free' has neither data nor values from the guide"),
        (mixture_guide, {}, "no discrete one is left to draw"),
        (mixture, {"log_likelihood": True}, "exclude each other"),
        (mixture, {"infer_discrete": "map"}, "choose True, False or 'mode'"),
    ],
)
def test_bad_requests(model, options, words):
    asked = {"infer_discrete": True, "num_samples": 4, **options, **QUIET}
    with pytest.raises(RequestError, match=words):
        sample_posterior(model, mixture_guide, (Y,), **asked)
