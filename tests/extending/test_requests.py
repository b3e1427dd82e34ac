"""New data, missing outcomes, interventions, and what bad requests get."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError
from pyro_posterior.warn import PosteriorWarning

QUIET = {"show_progress": False, "return_samples": True, "num_samples": 300, "seed": 0}
X = torch.linspace(-1.0, 1.0, 30)
Y = 2.0 * X


def model(x, y=None):
    b = pyro.sample("b", dist.Normal(0.0, 3.0))
    with pyro.plate("obs", len(x)):
        e = pyro.sample("e", dist.Normal(5.0, 1.0))
        m = pyro.deterministic("m", b * x + e)
        pyro.sample("y", dist.Normal(m, 0.01), obs=y)


def needs_outcome(x, y):
    model(x, y)


@pytest.fixture
def guide():
    pyro.clear_param_store()
    made = AutoNormal(model)
    made(X, Y)
    return made


@pytest.mark.parametrize("call", [model, needs_outcome])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_new_data_of_another_size(guide, call, batch_size):
    new = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    with pytest.warns(PosteriorWarning, match="'e' belong to other observations"):
        got = sample_posterior(
            call, guide, (new,), predictive=True, expected=True, batch_size=batch_size, **QUIET
        )
    assert got.draws["y"].shape == got.draws["y_expected"].shape == (300, 7)
    np.testing.assert_allclose(got.means["e"], 5.0, atol=0.25)  # from the model, not the guide
    np.testing.assert_allclose(got.stds["e"], 1.0, atol=0.2)
    np.testing.assert_allclose(
        got.draws["y_expected"], got.draws["b"][:, None] * new.numpy() + got.draws["e"], rtol=1e-4
    )
    assert np.abs(got.draws["y"] - got.draws["y_expected"]).std() == pytest.approx(0.006, abs=0.001)


def test_an_outcome_of_none_is_predicted_with_the_guides_locals(guide):
    got = sample_posterior(model, guide, (X,), predictive=True, **QUIET)
    with_data = sample_posterior(model, guide, (X, Y), predictive=True, **QUIET)
    assert got.site("y").kind == "predicted"
    np.testing.assert_array_equal(got.draws["e"], with_data.draws["e"])
    np.testing.assert_array_equal(got.draws["y"], with_data.draws["y"])
    np.testing.assert_array_equal(with_data.draws["y_observed"][0], Y)


def test_new_data_of_the_same_size(guide):
    got = sample_posterior(model, guide, (X,), predictive="new", **QUIET)
    np.testing.assert_allclose(got.means["e"], 5.0, atol=0.25)


def test_interventions_reach_what_comes_after(guide):
    got = sample_posterior(
        model, guide, (X, Y), do={"b": 0.0}, predictive=True, engine="sliced", **QUIET
    )
    np.testing.assert_allclose(got.draws["m"], got.draws["e"], rtol=1e-6)
    assert "b" not in got.sites
    values = torch.arange(30.0)
    got = sample_posterior(model, guide, (X, Y), do={"e": values}, **QUIET)
    np.testing.assert_allclose(
        got.draws["m"], got.draws["b"][:, None] * X.numpy() + values.numpy(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"derived": {"bad": lambda s: s["e"].reshape(7)}}, r"derived\['bad'\] failed.*e \(30,\)"),
        ({"derived": {"bad": lambda s: s["q"]}}, "no site 'q'; there are b, e, m, y"),
        ({"derived": {"bad": lambda s: None}}, "gave NoneType, but must give a tensor"),
        ({"derived": {"b": lambda s: s["e"]}}, "site 'b' of its own"),
        ({"derived": {"bad": 3}}, "must be a function"),
        ({"derived": [3]}, "must be a dict"),
        ({"predictive": "yes"}, "choose True, False or 'new'"),
        ({"do": {"q": 1.0}}, "which the model does not have"),
        ({"do": {"e": torch.zeros(4)}}, r"do\['e'\] has shape \(4,\)"),
        ({"do": {"b": "one"}}, r"do\['b'\] must be a number"),
        ({"do": {"b": float("nan")}}, r"do\['b'\] is outside of what .* Normal, can give"),
        ({"do": {"b": 1.0}, "log_likelihood": True}, "exclude each other"),
        ({"grouped": {"g": ("b", ["a"] * 30, "mean")}}, "no row per observation"),
        ({"grouped": {"g": ("e", ["a"] * 29, "mean")}}, "29 labels for 30 observations"),
        ({"grouped": {"g": ("q", ["a"] * 30, "mean")}}, "no site"),
        ({"grouped": {"g": ("e", "region", "mean")}}, "'region' names a column"),
        ({"grouped": {"g": ("e", ["a"] * 30, "median")}}, "'median' is not 'mean' or 'sum'"),
        ({"grouped": {"g": ("e", [None] * 30, "mean")}}, "no observation has a label"),
        ({"grouped": {"m": ("e", ["a"] * 30, "mean")}}, "a site of that name"),
        ({"grouped": {"g": ("e", torch.zeros(30, 1), "mean")}}, r"labels of shape \(30, 1\)"),
    ],
)
def test_bad_requests(guide, options, words):
    with pytest.raises(RequestError, match=words):
        sample_posterior(model, guide, (X, Y), **options, **QUIET)


def subsampled(x, y):
    b = pyro.sample("b", dist.Normal(0.0, 3.0))
    with pyro.plate("obs", 30, subsample_size=len(x)):
        pyro.sample("y", dist.Normal(b * x, 1.0), obs=y)


def subsampled_guide(x, y):
    pyro.sample("b", dist.Normal(0.0, 3.0))


def test_a_derived_quantity_that_averages_rows_away_is_refused():
    with pytest.raises(RequestError, match="'mean_y'.*grouped="):
        sample_posterior(
            subsampled,
            subsampled_guide,
            (X, Y),
            batch_size=7,
            derived={"mean_y": lambda s: (s["b"] * s["y"]).mean()},
            **QUIET,
        )


def test_nothing_to_predict():
    with pytest.raises(RequestError, match="no observed site"):
        sample_posterior(subsampled_guide, subsampled_guide, (X, Y), predictive=True, **QUIET)


def test_answers_that_were_not_asked_for(guide):
    got = sample_posterior(model, guide, (X, Y), **{**QUIET, "return_samples": False})
    for ask, words in (
        (got.loo, "log_likelihood=True"),
        (got.khat, "log_likelihood=True"),
        (got.loo_pit, "predictive=True and return_samples=True"),
        (lambda: got.ppc(np.mean), "predictive=True"),
        (lambda: got.contrast("b", "x", "y"), "grouped="),
        (lambda: got.derive({"c": lambda s: s["b"]}), "return_samples=True"),
    ):
        with pytest.raises(RequestError, match=words):
            ask()


def test_derived_from_stored_draws(guide):
    got = sample_posterior(model, guide, (X, Y), obs_plate="obs", **QUIET)
    more = got.derive({"d": lambda s: s["e"] - s["b"], "total": lambda s: s["d"].sum()})
    np.testing.assert_allclose(more.draws["d"], got.draws["e"] - got.draws["b"][:, None], rtol=1e-6)
    np.testing.assert_allclose(more.means["total"], more.draws["d"].sum(1).mean(), rtol=1e-4)
    assert (more.site("d").scope, more.site("total").scope) == ("local", "global")
    assert "d" not in got.sites
    with pytest.raises(RequestError, match=r"derived\['d'\] failed"):
        got.derive({"d": lambda s: s["q"]})
