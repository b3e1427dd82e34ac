"""Warnings stand at the user's line, whatever lies between."""

from __future__ import annotations

import inspect
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import PyroSampleMixin, sample_posterior
from pyro_posterior.errors import PosteriorWarning
from pyro_posterior.warn import warn


def model(x):
    z = pyro.sample("z", dist.Normal(0.0, 1.0))
    with pyro.plate("obs", len(x)):
        pyro.sample("y", dist.Normal(z, 1.0), obs=x)


class Host(PyroSampleMixin):
    """A host of the toy model."""

    def __init__(self):
        class Module:
            def __init__(self):
                self.model, self.guide = model, AutoNormal(model)

            def _get_fn_args_from_batch(self, batch):
                return (batch,), {}

        self.module = Module()


def by_function():
    sample_posterior(model, AutoNormal(model), torch.zeros(3), num_samples=2, show_progress=False)


def by_mixin():
    Host().sample_posterior(input_dl=[torch.zeros(3)], num_samples=2, show_progress=False)


@pytest.mark.parametrize("call", [by_function, by_mixin])
def test_the_line_is_the_users(call):
    with pytest.warns(PosteriorWarning, match="never been run") as seen:
        call()
    lines, first = inspect.getsourcelines(call)
    assert [warning.filename for warning in seen] == [__file__]
    assert seen[0].lineno == first + len(lines) - 1


def test_they_can_be_made_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorWarning)
        with pytest.raises(PosteriorWarning, match="never been run"):
            by_function()


def test_called_by_the_user_it_is_that_line():
    with pytest.warns(PosteriorWarning, match="here") as seen:
        warn("here")
    assert seen[0].filename == __file__
