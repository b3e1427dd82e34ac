"""The result is a dict with the documented keys that also knows where it comes from."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pyro
import pytest
import torch

import pyro_posterior
from pyro_posterior import Posterior
from pyro_posterior.errors import RequestError
from toy_models import ConjugateNormal, assert_same, sample


def _posterior(engine="loop", **options):
    toy = ConjugateNormal(10)
    return sample(
        toy.model, toy.guide, toy.data, num_samples=3, batch_size=4, engine=engine, **options
    )


def test_it_is_a_dict_that_knows_its_run(engine):
    posterior = _posterior(engine)
    assert isinstance(posterior, dict)
    assert posterior.seed == 1
    assert posterior.plan.num_samples == 3
    assert posterior.plan.num_obs == 10
    assert posterior.plan.obs_plate == "obs"
    assert posterior.plan.engine in ("loop", "batched slice", "unbatched slice")
    assert list(posterior.sites) == ["mu", "twice_mu", "z", "mu_times_y", "sum"]
    assert posterior.nonfinite == {}
    assert posterior.program
    assert posterior.info["seconds"] > 0
    assert posterior.info["versions"]["torch"] == torch.__version__
    assert posterior.info["versions"]["pyro-ppl"] == pyro.__version__


def test_it_reads_as_text():
    text = repr(_posterior())
    assert text.startswith("Posterior of 10 observations, 3 draws, seed 1, engine loop")
    assert "z  latent, local  (10,)" in text
    assert "mu  latent, global  ()" in text


def test_it_survives_pickling_and_copying():
    posterior = _posterior(return_samples=True)
    for other in (
        pickle.loads(pickle.dumps(posterior)),
        copy.deepcopy(posterior),
        copy.copy(posterior),
    ):
        assert type(other) is type(posterior)
        assert_same(other, posterior)
        assert other.plan == posterior.plan
        assert other.info == posterior.info


def test_arrays_can_be_written_to():
    """Users take the arrays and go on with them."""
    posterior = _posterior(return_samples=True)
    for arrays in posterior.values():
        for name, array in arrays.items():
            assert array.flags.writeable, name
            assert isinstance(array, np.ndarray)


def test_short_ways_are_the_same_arrays():
    posterior = _posterior(return_samples=True)
    for name in ("means", "stds", "q05", "q95"):
        assert getattr(posterior, name) is posterior[f"post_sample_{name}"]
        assert name in dir(posterior)
    assert posterior.draws is posterior["posterior_samples"]
    assert posterior.site("mu") == posterior.sites["mu"]
    spread = _posterior(summary_fun={"spread": np.ptp})
    assert spread.spread is spread["post_sample_spread"]
    assert not hasattr(spread, "median")


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (lambda p: p.means["mus"], "no site 'mus' .did you mean 'mu'.*'twice_mu'.*return_sites="),
        (lambda p: p["post_sample_stds"]["y"], "return_observed=True"),
        (lambda p: p.draws["mu"], "the draws were not kept: draw with return_samples=True"),
        (lambda p: p["posterior_samples"], "return_samples=True"),
        (lambda p: p["means"], "it is posterior.means, or posterior..post_sample_means"),
        (lambda p: p["post_sample_median"], r"summary_fun=\['median', \.\.\.\]"),
        (lambda p: p["mu"], "posterior.means"),
        (lambda p: p.site("nu"), "the posterior has no site 'nu'"),
    ],
)
def test_a_missing_name_says_what_there_is_and_what_would_give_it(look, says):
    with pytest.raises(KeyError, match=says) as caught:
        look(_posterior())
    assert isinstance(caught.value, RequestError)
    assert "\\" not in str(caught.value)  # as a KeyError would show its own message


def test_other_summaries_are_said_to_be_replaced():
    posterior = _posterior(summary_fun={"sd": np.std})
    with pytest.raises(KeyError, match="summary_fun= took the place.*'means': np.mean"):
        posterior.means["mu"]


def test_copies_and_unions_keep_the_class_and_are_apart():
    posterior = _posterior(return_samples=True)
    copied = posterior.copy()
    copied["post_sample_means"]["more"] = np.zeros(3)
    assert "more" not in posterior.means
    assert copied.means["mu"] is posterior.means["mu"]
    extra = {"post_sample_extra": {"mu": np.ones(())}}
    for joined in (posterior | extra, extra | posterior, posterior | posterior):
        assert type(joined) is Posterior
        assert joined.plan == posterior.plan
        assert joined.means["mu"] is posterior.means["mu"]
    assert (posterior | extra).extra["mu"] == 1
    assert "post_sample_extra" not in posterior
    other = ConjugateNormal(7)
    other = sample(other.model, other.guide, other.data, num_samples=3, engine="loop")
    with pytest.raises(RequestError, match="same sites and observations"):
        posterior | other
    again = pickle.loads(pickle.dumps(copied))
    with pytest.raises(KeyError, match="no site 'zz'"):
        again.means["zz"]


def test_public_names_are_there_and_listed():
    for name in pyro_posterior.__all__:
        assert getattr(pyro_posterior, name) is not None
        assert name in dir(pyro_posterior)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pyro_posterior.nonsense


def test_an_attribute_it_does_not_have_says_what_was_meant():
    posterior = _posterior()
    with pytest.raises(
        AttributeError, match=r"did you mean 'means'.*summary_fun=\['mean', \.\.\.\]"
    ):
        posterior.mean
    with pytest.raises(AttributeError, match=r"summary_fun=\['q10', \.\.\.\]"):
        posterior.q10
    assert not hasattr(posterior, "nothing_like_it")


@pytest.mark.parametrize(
    ("look", "says"),
    [
        (lambda p: p.samples, r"'samples': draws are posterior\.draws\['w'\]"),
        (lambda p: p.hdi, r"summary_fun=\['hdi90'\]"),
        (lambda p: p.quantile, r"posterior\.q05 and posterior\.q95"),
        (lambda p: p.to_dataframe, r"posterior\.to_pandas\('w'\)"),
        (lambda p: p.to_csv, r"posterior\.to_pandas\('w'\)"),
        (lambda p: p.means.mu, r"no attribute 'mu': it is an entry, \['mu'\]"),
        (lambda p: p.means.muu, "no attribute 'muu'$"),
    ],
)
def test_what_other_packages_call_it_is_said(look, says):
    with pytest.raises(AttributeError, match=says):
        look(_posterior())


def test_a_name_in_other_capitals_is_meant():
    posterior = _posterior()
    with pytest.raises(KeyError, match="no site 'MU' .did you mean 'mu'"):
        posterior.means["MU"]
    with pytest.raises(KeyError, match="no site 'q'. Its sites are"):
        posterior.sites["q"]


def test_a_dataset_of_one_site_by_name():
    pytest.importorskip("xarray")
    assert list(_posterior().to_dataset(sites="mu")) == ["mu"]
