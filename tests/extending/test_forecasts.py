"""Models of ``pyro.contrib.forecast``: their latent variables, and words for what they have not."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.forecast import ForecastingModel
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError

TIMES, LATER = 12, 3
QUIET = {"show_progress": False, "seed": 0, "num_samples": 200}


class Walk(ForecastingModel):
    """A random walk and a slope."""

    def model(self, zero_data, covariates):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        with self.time_plate:
            drift = pyro.sample("drift", dist.Normal(0.0, 1.0))
        self.predict(dist.Normal(0.0, 0.2), (drift.cumsum(-1) + b * covariates[..., 0])[..., None])


COVARIATES = torch.linspace(0.0, 1.0, TIMES + LATER)[:, None]
DATA = 2 * COVARIATES[:TIMES]


@pytest.fixture
def fitted():
    pyro.clear_param_store()
    model = Walk()
    values = {"b": torch.tensor(2.0), "drift": torch.arange(float(TIMES))}
    guide = AutoNormal(
        model, init_loc_fn=pyro.infer.autoguide.init_to_value(values=values), init_scale=0.01
    )
    guide(DATA, COVARIATES[:TIMES])
    return model, guide


def test_latent_variables_over_the_time_of_the_data(fitted):
    got = sample_posterior(*fitted, (DATA, COVARIATES[:TIMES]), **QUIET)
    np.testing.assert_allclose(got.means["drift"], np.arange(TIMES), atol=0.01)
    np.testing.assert_allclose(got.means["b"], 2.0, atol=0.01)


@pytest.mark.parametrize(
    ("times", "options", "words"),
    [
        (TIMES, {"predictive": True}, "Walk is a ForecastingModel, whose outcome is no site"),
        (TIMES + LATER, {"expected": True}, "Forecaster"),
        (TIMES + LATER, {}, "12 times of data and 15 of covariates"),
    ],
)
def test_what_is_behind_the_data_is_left_to_the_forecaster(fitted, times, options, words):
    with pytest.raises(RequestError, match=words):
        sample_posterior(*fitted, (DATA, COVARIATES[:times]), **options, **QUIET)
