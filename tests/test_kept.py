"""Guides of ``pyro.param`` statements, whose values live nowhere but in Pyro's one store."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam

from pyro_posterior import PyroSampleMixin, sample_posterior
from pyro_posterior.errors import PosteriorWarning, RequestError
from pyro_posterior.kept import keep_parameters


class Model(PyroModule):
    """One latent ``z``."""

    def forward(self, x):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", len(x)):
            pyro.sample("obs", dist.Normal(z, 1.0), obs=x)


class Guide(PyroModule):
    """``z = loc + shift``: ``loc`` lives in the module as well (if asked), ``shift`` does not."""

    def __init__(self, loc: float, in_module: bool = True) -> None:
        super().__init__()
        self.in_module = in_module
        if in_module:
            self.loc = PyroParam(torch.tensor(loc))

    def forward(self, x):
        loc = self.loc if self.in_module else 0.0
        shift = pyro.param("shift", torch.tensor(0.0))
        pyro.sample("z", dist.Delta(loc + shift))


class Module:
    """As hosts hold it; ``fit`` leaves the parameters in the store as training does."""

    def __init__(self, loc: float, in_module: bool = True) -> None:
        self.model, self.guide = Model(), Guide(loc, in_module)

    def _get_fn_args_from_batch(self, batch):
        return (batch,), {}


class Host(PyroSampleMixin):
    is_trained_ = False

    def __init__(self, loc: float, in_module: bool = True) -> None:
        pyro.clear_param_store()
        self.module = Module(loc, in_module)

    def fit(self, shift: float) -> Host:
        self.module.guide(torch.zeros(3))
        pyro.get_param_store()["shift"] = torch.tensor(shift)
        self.is_trained_ = True
        return self

    def z(self) -> float:
        posterior = self.sample_posterior(
            input_dl=[torch.zeros(3)], num_samples=2, show_progress=False, engine="loop"
        )
        return float(posterior["post_sample_means"]["z"])


def test_the_models_own_store_is_used_and_kept():
    first = Host(1.0).fit(10.0)
    assert first.z() == pytest.approx(11.0)  # kept by this call
    second = Host(2.0).fit(20.0)
    assert first.z() == pytest.approx(11.0)
    assert second.z() == pytest.approx(22.0)
    assert first.z() == pytest.approx(11.0)
    np.testing.assert_allclose(pyro.param("shift").item(), 20.0)


def test_a_trained_model_whose_parameters_are_gone_is_an_error():
    first = Host(1.0).fit(10.0)
    second = Host(2.0)
    with pytest.raises(RequestError, match="'shift' are not in pyro's parameter store"):
        first.z()
    second.fit(20.0)
    with pytest.raises(RequestError, match="another model"):
        first.z()


def test_further_training_is_seen():
    host = Host(1.0).fit(10.0)
    assert host.z() == pytest.approx(11.0)
    pyro.get_param_store()["shift"] = torch.tensor(30.0)
    assert host.z() == pytest.approx(31.0)
    Host(2.0).fit(20.0)
    assert host.z() == pytest.approx(31.0)


def test_a_guide_with_nothing_in_its_module_gets_what_was_kept():
    first = Host(0.0, in_module=False).fit(10.0)
    keep_parameters(first)
    Host(0.0, in_module=False).fit(20.0)
    assert first.z() == pytest.approx(10.0)


def test_initial_values_are_told():
    """A guide that was never fitted is drawn from, and said to be."""
    with pytest.warns(PosteriorWarning, match="'shift' were never fitted"):
        posterior = sample_posterior(
            Model(), Guide(1.0), torch.zeros(3), num_samples=2, show_progress=False, engine="loop"
        )
    assert float(posterior["post_sample_means"]["z"]) == pytest.approx(1.0)


def test_under_inference_mode():
    host = Host(1.0).fit(10.0)
    with torch.inference_mode():
        assert host.z() == pytest.approx(11.0)
        Host(2.0).fit(20.0)
        assert host.z() == pytest.approx(11.0)
    assert host.z() == pytest.approx(11.0)


def test_a_store_loaded_after_it_was_kept_is_used(tmp_path):
    host = Host(0.0, in_module=False).fit(10.0)
    pyro.get_param_store().save(str(tmp_path / "best.pt"))
    host.fit(20.0)
    keep_parameters(host)
    assert host.z() == pytest.approx(20.0)
    pyro.get_param_store().load(str(tmp_path / "best.pt"))
    assert host.z() == pytest.approx(10.0)


def test_a_store_loaded_for_another_kept_model_is_not_used(tmp_path):
    Host(0.0, in_module=False).fit(20.0)
    pyro.get_param_store().save(str(tmp_path / "second.pt"))
    first = Host(0.0, in_module=False).fit(10.0)
    keep_parameters(first)
    second = Host(0.0, in_module=False)
    pyro.get_param_store().load(str(tmp_path / "second.pt"))
    keep_parameters(second)
    assert (first.z(), second.z()) == (pytest.approx(10.0), pytest.approx(20.0))
