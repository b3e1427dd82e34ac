"""Values loaded into Pyro's store are used as `Predictive` uses them; another model's are not."""

from __future__ import annotations

import copy
import gc
import logging
import math
import types
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.nn import PyroModule, PyroParam

from pyro_posterior import PyroSampleMixin
from pyro_posterior.errors import PosteriorWarning
from toy_models import sample

Y = torch.tensor([5.0, 5.0])


def model(y):
    m = pyro.sample("m", dist.Normal(0.0, 10.0))
    pyro.sample("y", dist.Normal(m, 1.0).expand([2]).to_event(1), obs=y)


class Own(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = PyroParam(torch.tensor(0.0))
        self.sd = PyroParam(torch.tensor(0.1), constraint=dist.constraints.positive)

    def forward(self, y):
        pyro.sample("m", dist.Normal(self.loc, self.sd))


def bare(y):
    loc = pyro.param("loc", torch.tensor(0.0))
    sd = pyro.param("sd", torch.tensor(0.1), constraint=dist.constraints.positive)
    pyro.sample("m", dist.Normal(loc, sd))


GUIDES = {
    "AutoNormal": lambda: AutoNormal(model),
    "AutoDelta": lambda: AutoDelta(model),
    "PyroParam": Own,
    "pyro.param": lambda: bare,
}


def fit(guide, towards):
    """One step, as any fit begins, and then in place to where it would end."""
    SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.1}), Trace_ELBO()).step(Y)
    for name, value in pyro.get_param_store()._params.items():
        value.data.fill_(math.log(0.1) if "sd" in name or "scale" in name else towards)


def of_function(guide, engine):
    return float(sample(model, guide, Y, num_samples=50, engine=engine)["post_sample_means"]["m"])


def of_mixin(guide, engine):
    module = types.SimpleNamespace(
        model=model, guide=guide, _get_fn_args_from_batch=lambda batch: ((batch,), {})
    )
    host = type("Host", (PyroSampleMixin,), {"module": module})()
    posterior = host.sample_posterior(
        input_dl=[Y], num_samples=50, engine=engine, seed=1, accelerator="cpu", show_progress=False
    )
    return float(posterior["post_sample_means"]["m"])


def predicted(guide):
    draws = Predictive(model, guide=guide, num_samples=50, return_sites=["m"])(Y)["m"]
    return float(draws.detach().mean())


def load_over(path):
    pyro.get_param_store().load(path)


def load_after_clear(path):
    pyro.clear_param_store()
    pyro.get_param_store().load(path)


def set_state(path):
    state = torch.load(path, weights_only=False)
    pyro.get_param_store().set_state(copy.deepcopy(state))


@pytest.fixture
def state(tmp_path):
    """Parameters fitted to about 1, in a file."""

    def saved(guide):
        fit(guide, 1.0)
        pyro.get_param_store().save(str(tmp_path / "best.pt"))
        return str(tmp_path / "best.pt")

    return saved


@pytest.mark.parametrize(
    ("call", "load"),
    [
        (of_function, load_over),
        (of_mixin, load_over),
        (of_mixin, load_after_clear),
        (of_function, set_state),
    ],
)
@pytest.mark.parametrize("name", GUIDES)
def test_loaded_under_a_guide_that_has_run(name, load, call, engine, state):
    guide = GUIDES[name]()
    best = state(guide)
    fit(guide, 5.0)
    assert call(guide, engine) == pytest.approx(5.0, abs=0.5)
    load(best)
    for _ in range(2):  # the second call finds all as the first one did
        assert call(guide, engine) == pytest.approx(1.0, abs=0.5)
    assert predicted(guide) == pytest.approx(1.0, abs=0.5)
    assert call(guide, engine) == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize("call", [of_function, of_mixin])
@pytest.mark.parametrize("name", GUIDES)
def test_loaded_before_a_guide_has_run(name, call, engine, state):
    """As a new process does it. Nothing is said of initial values."""
    best = state(GUIDES[name]())
    pyro.clear_param_store()
    pyro.get_param_store().load(best)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorWarning)
        assert call(GUIDES[name](), engine) == pytest.approx(1.0, abs=0.5)


@pytest.mark.parametrize("call", [of_function, of_mixin])
@pytest.mark.parametrize("name", ["AutoNormal", "AutoDelta", "PyroParam"])
@pytest.mark.parametrize("how", ["alive", "gone", "loaded"])
def test_another_models_parameters_are_not_seen(how, name, call, engine, state):
    best = state(GUIDES[name]())
    pyro.clear_param_store()
    mine, other = GUIDES[name](), GUIDES[name]()
    fit(mine, 5.0)
    pyro.clear_param_store()
    if how == "loaded":  # never optimised here, but it has run
        pyro.get_param_store().load(best)
        other(Y)
    else:
        fit(other, 1.0)
    if how == "gone":
        del other
        gc.collect()
    assert call(mine, engine) == pytest.approx(5.0, abs=0.5)
    if how != "gone":
        assert call(other, engine) == pytest.approx(1.0, abs=0.5)
    assert call(mine, engine) == pytest.approx(5.0, abs=0.5)


def test_the_guide_keeps_its_own_tensors(engine, state):
    guide = Own()
    best = state(guide)
    fit(guide, 5.0)
    tensors = dict(guide._parameters)
    pyro.get_param_store().load(best)
    sample(model, guide, Y, num_samples=3, engine=engine)
    assert all(guide._parameters[name] is value for name, value in tensors.items())
    assert tensors["loc_unconstrained"] in pyro.get_param_store()._param_to_name


def test_a_new_guide_that_finds_a_fitted_one_says_so(engine):
    fit(AutoNormal(model), 5.0)
    with pytest.warns(PosteriorWarning, match="those that another guide .* has left"):
        assert of_function(AutoNormal(model), engine) == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize("make", [AutoDiagonalNormal, AutoMultivariateNormal])
def test_plain_parameters_are_the_modules_own_and_that_is_said(make, engine, state):
    """Pyro does not take them from its store, so `Predictive` does not either."""
    guide = make(model)
    best = state(guide)
    fit(guide, 5.0)
    pyro.get_param_store().load(best)
    with pytest.warns(
        PosteriorWarning, match=r"loc' than the module itself.*load the module's sta"
    ):
        found = of_function(guide, engine)
    assert found == pytest.approx(predicted(guide), abs=0.3)
    assert found == pytest.approx(5.0, abs=0.5)


def test_two_models_in_reach_of_one_function(engine, caplog):
    """Both are found behind the function; each runs with its own."""
    guides = {"a": Own(), "b": Own()}
    for name, towards in (("a", 5.0), ("b", 1.0)):
        pyro.clear_param_store()
        fit(guides[name], towards)
    with caplog.at_level(logging.INFO, "pyro_posterior"):
        assert of_function(lambda y: guides["a"](y), engine) == pytest.approx(5.0, abs=0.5)
        assert of_function(lambda y: guides["b"](y), engine) == pytest.approx(1.0, abs=0.5)
