"""NaN in the data and Laplace guides at their mode are told, once, and only then."""

from __future__ import annotations

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoGuideList, AutoLaplaceApproximation, AutoNormal

from pyro_posterior.errors import PosteriorWarning
from toy_models import sample


def model(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", len(x)):
        masked = pyro.poutine.mask(mask=~x.isnan())
        with masked:
            pyro.sample("y", dist.Normal(mu, 1.0), obs=x.nan_to_num())


def local_model(x):
    with pyro.plate("obs", 6, subsample_size=len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))


@pytest.mark.parametrize("batch_size", [None, 2])
def test_missing_values_are_counted_over_all_minibatches_and_told_once(batch_size, engine):
    x = torch.tensor([1.0, float("nan"), 2.0, 3.0, float("nan"), float("nan")])
    with pytest.warns(PosteriorWarning, match="have 3 values that are NaN, in [12] of") as seen:
        found = sample(
            local_model, local_model, x, batch_size=batch_size, num_samples=3, engine=engine
        )
    assert [warning.filename for warning in seen] == [seen[0].filename]
    assert np.isfinite(found.means["z"]).all()


def test_data_without_missing_values_are_no_reason_for_a_word(engine):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorWarning)
        data = torch.tensor([1.0, float("inf"), 2.0, 3.0, 0.0, 1.0])
        sample(local_model, local_model, data, num_samples=3, engine=engine)


def laplace():
    return AutoLaplaceApproximation(model)


def in_a_list():
    guides = AutoGuideList(model)
    guides.append(AutoLaplaceApproximation(pyro.poutine.block(model, expose=["mu"])))
    return guides


@pytest.mark.parametrize("make", [laplace, in_a_list])
def test_a_laplace_guide_at_its_mode_is_told(make):
    x = torch.ones(3)
    made = make()
    made(x)
    with pytest.warns(PosteriorWarning, match="draws its mode alone.*laplace_approximation"):
        found = sample(model, made, x, num_samples=3)
    assert found.stds["mu"] == 0


def test_its_normal_is_no_reason_for_a_word():
    x = torch.ones(3)
    for made in (laplace(), AutoNormal(model)):
        made(x)
        if isinstance(made, AutoLaplaceApproximation):
            made = made.laplace_approximation(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error", PosteriorWarning)
            assert sample(model, made, x, num_samples=3).stds["mu"] > 0
