"""Derived quantities, group totals and predictions whose distributions are known."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from extending.cases import conjugate, conjugate_data, exact_guide, posterior_of
from pyro_posterior import sample_posterior

QUIET = {"show_progress": False, "return_samples": True}
GROUPS = np.array(["t"] * 9 + ["n"] * 12)


def test_shares_of_gammas_are_dirichlet():
    """Counts of a Dirichlet-multinomial model; its posterior drawn as gammas."""
    counts = torch.tensor([7.0, 0.0, 2.0, 31.0])
    alpha = counts + 0.5

    def model(y):
        w = pyro.sample("w", dist.Gamma(torch.full((4,), 0.5), 1.0).to_event(1))
        pyro.sample("y", dist.Multinomial(40, w / w.sum()), obs=y)

    def guide(y):
        pyro.sample("w", dist.Gamma(alpha, 1.0).to_event(1))

    got = sample_posterior(
        model,
        guide,
        (counts,),
        num_samples=8000,
        seed=0,
        derived={"share": lambda s: s["w"] / s["w"].sum(-1, keepdim=True)},
        **QUIET,
    )
    answer = torch.distributions.Dirichlet(alpha)
    sd = answer.variance.sqrt().numpy()
    np.testing.assert_allclose(got.means["share"], answer.mean, atol=4 * sd.max() / 8000**0.5)
    np.testing.assert_allclose(got.stds["share"], sd, rtol=0.06)
    np.testing.assert_allclose(got.draws["share"].sum(1), 1, rtol=1e-5)


def hierarchy(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", 21, subsample_size=len(y)):
        z = pyro.sample("z", dist.Normal(mu, 0.3))
        pyro.sample("y", dist.Normal(z, 1.0), obs=y)


def hierarchy_guide(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", 21, subsample_size=len(y)):
        pyro.sample("z", dist.LogNormal(mu, 0.3))


def draw_groups(seed, **options):
    return sample_posterior(
        hierarchy,
        hierarchy_guide,
        (torch.zeros(21),),
        num_samples=6000,
        obs_plate="obs",
        seed=seed,
        return_sites=["mu"],
        derived={"log_z": lambda s: s["z"].log()},
        grouped={"by": ("log_z", GROUPS, "mean")},
        **QUIET,
        **options,
    )


@pytest.mark.parametrize("batch_size", [1, 7, None])
def test_sd_of_a_group_mean_has_the_globals_in_common(batch_size):
    """The mean of n log-normals' logarithms has variance 1 + 0.3**2 / n, whatever the minibatches."""
    got = draw_groups(2, batch_size=batch_size)
    sizes = np.array([12, 9])  # n before t
    np.testing.assert_allclose(got.stds["by"], np.sqrt(1 + 0.09 / sizes), rtol=0.04)
    np.testing.assert_allclose(got.means["by"], 0, atol=0.06)
    difference = got.contrast("by", "t", "n")
    np.testing.assert_allclose(difference.sd, 0.3 * np.sqrt((1 / sizes).sum()), rtol=0.04)
    assert difference.above_zero == pytest.approx(0.5, abs=0.03)


def test_sd_of_a_group_mean_is_wrong_where_globals_are_redrawn_for_each_minibatch():
    """What drawing minibatch by minibatch by hand does: three means of their own instead of one."""
    parts = [draw_groups(seed, batch_size=None).draws["by"][:, 1] for seed in (1, 2, 3)]
    sd = np.mean(parts, axis=0).std()
    assert sd < 0.65  # near 1 / sqrt(3), where 1.005 is right


def test_predictions_cover_what_comes():
    """Of 90 % intervals, in and out of sample, 90 % hold the truth: 800 of each, sd 1.1 %."""
    inside = outside = 0
    for seed in range(20):
        x, y = conjugate_data(seed)
        guide = exact_guide(*posterior_of(x, y))
        new_x, new_y = conjugate_data(1000 + seed)
        for data, truth in (((x, y), None), ((new_x,), new_y)):
            got = sample_posterior(
                conjugate,
                guide,
                data,
                num_samples=400,
                seed=seed,
                predictive=True,
                return_sites=["slope"],
                show_progress=False,
            )
            if truth is None:
                # A new outcome where the old ones were: in sample the data themselves lie closer.
                generator = torch.Generator().manual_seed(seed + 5000)
                truth = 1.3 * x + 0.5 * torch.randn(len(x), generator=generator)
                inside += ((truth.numpy() > got.q05["y"]) & (truth.numpy() < got.q95["y"])).sum()
            else:
                outside += ((truth.numpy() > got.q05["y"]) & (truth.numpy() < got.q95["y"])).sum()
    assert 0.86 < inside / 800 < 0.94
    assert 0.86 < outside / 800 < 0.94


def test_mean_and_sd_of_predictions_are_exact():
    x, y = conjugate_data(0)
    mean, sd = posterior_of(x, y)
    got = sample_posterior(
        conjugate,
        exact_guide(mean, sd),
        (x, y),
        batch_size=9,
        num_samples=6000,
        seed=1,
        predictive=True,
        expected=True,
        show_progress=False,
    )
    exact = np.sqrt(0.25 + (sd * x.numpy()) ** 2)
    np.testing.assert_allclose(got.stds["y"], exact, rtol=0.05)
    np.testing.assert_allclose(got.means["y"], mean * x, atol=5 * exact.max() / 6000**0.5)
    np.testing.assert_allclose(got.stds["y_expected"], np.abs(sd * x.numpy()), rtol=0.04, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_criticism_of_an_exact_guide():
    arviz = pytest.importorskip("arviz")
    x, y = conjugate_data(1)
    got = sample_posterior(
        conjugate,
        exact_guide(*posterior_of(x, y)),
        (x, y),
        batch_size=11,
        num_samples=1000,
        seed=1,
        predictive=True,
        log_likelihood=True,
        **QUIET,
    )
    assert got.khat().khat < 0.1  # the weights are all alike but for rounding
    assert got.khat().pointwise is None
    plain = got.loo(weighted=False)
    values = got.log_likelihood
    data = arviz.from_dict(
        posterior={"slope": got.draws["slope"][None]}, log_likelihood={"y": values[None]}
    )
    theirs = arviz.loo(data, pointwise=True)
    assert plain.elpd == pytest.approx(theirs.elpd_loo, abs=1e-4)
    assert plain.p_loo == pytest.approx(theirs.p_loo, abs=1e-4)
    np.testing.assert_allclose(plain.k, theirs.pareto_k, atol=1e-4)
    assert got.loo().elpd == pytest.approx(plain.elpd, abs=0.05)
    exact = 0.0  # leaving one out of a conjugate model
    for i in range(len(x)):
        others = torch.arange(len(x)) != i
        mean, sd = posterior_of(x[others], y[others])
        scale = float((0.25 + (sd * x[i]) ** 2) ** 0.5)
        exact += float(torch.distributions.Normal(mean * x[i], scale).log_prob(y[i]))
    assert plain.elpd == pytest.approx(exact, abs=0.1)
    pit = got.loo_pit()
    assert pit.shape == (40,)
    assert 0.3 < pit.mean() < 0.7
    check = got.ppc(np.std)
    assert 0.02 < check.p_value < 0.98
    assert check.observed == pytest.approx(float(y.std(correction=0)), rel=1e-5)
