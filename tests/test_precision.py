"""``num_samples="auto"``: as many draws as an error asks for, where that number is known."""

from __future__ import annotations

import logging
from statistics import NormalDist

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import Posterior, sample_posterior
from pyro_posterior.errors import PosteriorWarning, RequestError
from test_mixin import Host

Q05 = NormalDist().inv_cdf(0.05)
#: Error of the 5 % quantile of one independent normal draw.
ONE = (0.05 * 0.95) ** 0.5 / NormalDist().pdf(Q05)


def model(x):
    z = pyro.sample("z", dist.Normal(torch.zeros(40), 1.0).to_event(1))
    pyro.deterministic("fixed", torch.ones(3))
    with pyro.plate("obs", len(x)):
        pyro.sample("w", dist.Normal(x, 2.0))
    pyro.deterministic("sum", z.sum())


def ask(mcse=0.05, x=None, **options):
    options = {"num_samples": "auto", "seed": 3, "show_progress": False, **options}
    x = torch.arange(6.0) if x is None else x
    return sample_posterior(model, model, x, obs_plate="obs", mcse=mcse, **options)


@pytest.mark.parametrize("engine", ["loop", "sliced"])
def test_stratified_draws_of_latents_need_no_more_than_the_first_thousand(engine):
    posterior = ask(0.05, engine=engine, exclude_sites=["sum"])
    assert posterior.plan.num_samples == 1000
    assert posterior.plan.replicate_lengths == (250,) * 4
    assert posterior.info["precision"]["error"] < 0.05
    assert abs(posterior.q05["z"] - Q05).max() < 0.05


def test_independent_draws_are_as_many_as_the_formula_asks_for():
    posterior = ask(0.04, draws="independent", max_samples=20_000)
    count = posterior.plan.num_samples
    # it is the largest of some hundred rough errors that has to be so small
    assert count % 250 == 0
    assert 1 < count / (ONE / 0.04) ** 2 < 3
    for name, known in (("means", 0.0), ("q05", Q05), ("q95", -Q05)):
        errors = posterior[f"post_sample_{name}_mcse"]["z"]
        assert (errors / posterior.stds["z"]).max() < 0.04
        distances = abs(posterior[f"post_sample_{name}"]["z"] - known)
        assert (distances < 4 * 0.04).all()
        assert (distances < 0.04).mean() > 0.5


def test_what_was_reached_is_that_of_the_numbers_that_are_returned():
    posterior = ask(0.05)
    found = posterior.info["precision"]
    units = np.concatenate(
        [
            (posterior[f"post_sample_{name}_mcse"][site] / posterior.stds[site]).ravel()
            for name in ("means", "q05", "q95")
            for site in ("z", "w", "sum")
        ]
    ) * (1 + 2 / (posterior.plan.replicates - 1))
    assert units.max() == pytest.approx(found["error"], rel=1e-5)  # no site has a hundred values
    assert found["error"] < 0.05
    assert found["share_above"] == 0
    assert found["site"] == "sum"


def test_the_same_number_of_draws_gives_the_same_numbers_at_once():
    posterior = ask(0.05)
    again = ask(0.05, num_samples=posterior.plan.num_samples)
    for name in posterior:
        for site in posterior[name]:
            np.testing.assert_array_equal(posterior[name][site], again[name][site])


def test_a_limit_that_comes_first_is_told_with_what_was_reached(caplog):
    caplog.set_level(logging.INFO, logger="pyro_posterior")
    with pytest.warns(PosteriorWarning, match="after 1,250 draws.*'sum' is 0.1.*mcse=0.01"):
        posterior = ask(0.01, max_samples=1300)
    assert posterior.plan.num_samples == 1250
    assert posterior.info["precision"]["error"] > 0.01
    assert posterior.info["precision"]["share_above"] > 0
    assert "1000 draws" in caplog.text


def test_a_share_of_the_values_of_a_site_may_lie_above():
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(400), 1.0).to_event(1))
        pyro.deterministic("most", torch.cat([z, z.view(4, 100).sum(1)]))

    options = {"num_samples": "auto", "show_progress": False, "seed": 1, "mcse": 0.04}
    data = torch.zeros(2)
    posterior = sample_posterior(model, model, data, return_sites=["most"], **options)
    assert posterior.plan.num_samples == 1000
    assert 0 < posterior.info["precision"]["share_above"] < 0.01


def test_minibatches_and_their_mixin():
    host = Host()
    options = {"num_samples": "auto", "mcse": 0.05, "seed": 1, "show_progress": False}
    posterior = host.sample_posterior(batch_size=4, **options)
    assert posterior.plan.batch_sizes == (4, 4, 2)
    assert posterior.info["precision"]["error"] < 0.05
    assert len(posterior.plan.replicate_lengths) * 250 == posterior.plan.num_samples


def test_a_store_and_summaries_of_ones_own_get_the_final_run(tmp_path):
    pytest.importorskip("zarr")
    plain = ask(0.05)
    stored = ask(0.05, store=tmp_path / "s", seed=None, summary_fun=["mean", "hdi90"])
    assert list(stored) == [
        f"post_sample_{x}" for x in ("mean", "hdi90", "mean_mcse", "hdi90_mcse")
    ]
    opened = Posterior.open(tmp_path / "s")
    assert opened.info["precision"] == stored.info["precision"]
    assert opened.info["precision"]["error"] < 0.05
    kept = ask(0.05, store=tmp_path / "t")
    np.testing.assert_array_equal(kept.q05["w"], plain.q05["w"])
    assert kept.info["precision"] == plain.info["precision"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mcse": True}, "num_samples='auto' draws until.*mcse=0.05"),
        ({"mcse": False}, "num_samples='auto' draws until"),
        ({"mcse": 0.0}, "a number above 0, found 0.0"),
        ({"mcse": "small"}, "True, False or a number"),
        ({"num_samples": 1100}, "multiple of 250 from 1000 on, found 1100"),
        ({"num_samples": 750}, "multiple of 250 from 1000 on, found 750"),
        ({"num_samples": "many"}, "num_samples must be a whole number"),
        ({"max_samples": 500}, "max_samples must be at least 1000"),
        ({"shard": (0, 2), "store": "s"}, "find the number without shard="),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(RequestError, match=message):
        ask(**options)
