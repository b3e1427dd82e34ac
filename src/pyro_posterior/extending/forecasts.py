"""Models of ``pyro.contrib.forecast``, whose own `Forecaster` goes beyond the data."""

from __future__ import annotations

from typing import Any

import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError


def check_forecast(model: Any, first: Minibatch, predicts: bool) -> None:
    """Raise where a forecasting model is asked for more than its latent variables so far.

    Such a model has its outcome in a residual computed from the data, which is no site to draw anew,
    and behind the data it draws other sites than its guide knows.

    Raises
    ------
    RequestError
        Predictions are asked for, or covariates go beyond the data.
    """
    kinds = [f"{kind.__module__}.{kind.__name__}" for kind in type(model).__mro__]
    if "pyro.contrib.forecast.forecaster.ForecastingModel" not in kinds:
        return
    instead = (
        "draw its latent variables over the time of the data without that, and what comes after "
        "with pyro.contrib.forecast: Forecaster(...)(data, covariates, num_samples=1000)"
    )
    if predicts:
        raise RequestError(
            f"{type(model).__name__} is a ForecastingModel, whose outcome is no site that "
            f"predictive= or expected= could draw: {instead}"
        )
    given = [x for x in first.args[:2] if isinstance(x, torch.Tensor) and x.dim() > 1]
    if len(given) == 2 and given[0].shape[-2] != given[1].shape[-2]:
        raise RequestError(
            f"{type(model).__name__} is a ForecastingModel with {given[0].shape[-2]} times of data "
            f"and {given[1].shape[-2]} of covariates: give covariates as long as the data; {instead}"
        )
