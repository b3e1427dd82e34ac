"""One call leaves modes, devices and pyro's parameter store alone, and models keep to their own."""

from __future__ import annotations

import functools
import logging

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch.distributions import constraints

from pyro_posterior.networks import evaluating, modules_of
from pyro_posterior.parameters import own_parameters
from toy_models import assert_same, sample

CPU = torch.device("cpu")


class Model(PyroModule):
    """A global per model; a weight of its own and a scale that stays positive."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))
        self.scale = PyroParam(torch.tensor(1.0), constraint=constraints.positive)

    def forward(self, y):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 10.0))
        pyro.deterministic("weighted", mu * 0 + self.weight)
        pyro.deterministic("scaled", mu * 0 + self.scale)
        with pyro.plate("obs", len(y)):
            pyro.sample("y", dist.Normal(mu * self.weight, self.scale), obs=y)


class Guide(PyroModule):
    def __init__(self):
        super().__init__()
        self.loc = PyroParam(torch.tensor(0.0))
        self.sd = PyroParam(torch.tensor(0.1), constraint=constraints.positive)

    def forward(self, y):
        pyro.sample("mu", dist.Normal(self.loc, self.sd))


def fitted(y, make_guide=AutoNormal, steps=200):
    """A model and guide fitted to ``y``, from an empty store, as a fresh process would."""
    pyro.clear_param_store()
    model = Model()
    guide = make_guide(model) if make_guide is AutoNormal else make_guide()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(steps):
        svi.step(y)
    return model, guide


def store_content():
    store = pyro.get_param_store()
    return {name: (id(store._params[name]), store._params[name].clone()) for name in store}


def assert_same_store(before):
    after = store_content()
    assert list(after) == list(before)
    for name, (identity, value) in before.items():
        assert after[name][0] == identity, name
        assert torch.equal(after[name][1], value), name


@pytest.mark.parametrize("make_guide", [AutoNormal, Guide])
def test_two_models_under_the_same_names_do_not_see_each_other(engine, make_guide, caplog):
    y = torch.full((20,), 3.0)
    one, two = fitted(y, make_guide), fitted(-y, make_guide)
    before = store_content()
    options = {"num_samples": 40, "engine": engine, "return_samples": True}
    with caplog.at_level(logging.INFO, "pyro_posterior"):
        of_one = sample(*one, y, **options)
    assert "also in pyro's parameter store with other values" in caplog.text
    of_two = sample(*two, -y, **options)
    assert_same_store(before)
    for found, model, sign in ((of_one, one[0], 1), (of_two, two[0], -1)):
        means = found["post_sample_means"]
        weight, scale = model.weight.item(), model.scale.item()
        assert means["weighted"] == pytest.approx(weight, rel=1e-5)
        assert means["scaled"] == pytest.approx(scale, rel=1e-5)
        assert np.sign(means["mu"] * weight) == sign
    pyro.clear_param_store()
    assert_same(of_one, sample(*one, y, **options))
    assert_same(of_one, sample(*one, y, **options))


def test_a_model_loaded_from_its_state_does_not_see_another(engine):
    y = torch.full((20,), 3.0)
    model, guide = fitted(y, Guide)
    options = {"num_samples": 20, "engine": engine, "return_samples": True}
    wanted = sample(model, guide, y, **options)
    states = model.state_dict(), guide.state_dict()
    fitted(-y, Guide)  # now the store holds another model's values
    loaded = Model(), Guide()
    for module, state in zip(loaded, states, strict=True):
        module.load_state_dict(state)
    assert_same(sample(*loaded, y, **options), wanted)


def test_param_statements_are_taken_from_the_store(engine):
    def model(y):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    def guide(y):
        loc = pyro.param("loc", lambda: y.new_tensor(0.0))
        sd = pyro.param("sd", lambda: y.new_tensor(1.0), constraint=constraints.positive)
        pyro.sample("mu", dist.Normal(loc, sd))

    guide(torch.ones(2))
    pyro.get_param_store()["loc"] = torch.tensor(5.0)
    pyro.get_param_store()["sd"] = torch.tensor(0.01)
    before = store_content()
    found = sample(model, guide, torch.ones(2), num_samples=40, engine=engine)
    assert found["post_sample_means"]["mu"] == pytest.approx(5.0, abs=0.02)
    assert found["post_sample_stds"]["mu"] == pytest.approx(0.01, rel=0.6)
    assert_same_store(before)


def test_parameters_made_during_a_call_do_not_stay_in_the_store(engine):
    model = Model()
    sample(model, Guide(), torch.ones(3), num_samples=2, engine=engine)
    assert list(pyro.get_param_store().keys()) == []


def test_the_store_is_put_back_after_an_error():
    guide = Guide()
    guide(torch.ones(2))
    before = store_content()

    def broken(y):
        raise KeyError("broken")

    with pytest.raises(KeyError, match="broken"):
        sample(broken, guide, torch.ones(2))
    assert_same_store(before)


# ------------------------------------------------------------------------------------- modes, device


class Dropped(PyroModule):
    """Part of it is frozen in eval mode, the rest trains."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.9)
        self.frozen = torch.nn.BatchNorm1d(1).eval()

    def forward(self, y):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", len(y)):
            pyro.deterministic("kept", self.dropout(y) + mu * 0)
            pyro.deterministic("normed", self.frozen(y[:, None])[:, 0] + mu * 0)


@pytest.mark.parametrize("wrap", ["plain", "block", "partial", "method"])
def test_modules_are_in_eval_mode_while_drawing_and_put_back(engine, wrap):
    module, y = Dropped(), torch.ones(6)
    mean = module.frozen.running_mean.clone()
    model = {
        "plain": module,
        "block": poutine.block(module, hide=["nothing"]),
        "partial": functools.partial(module),
        "method": module.forward,
    }[wrap]
    found = sample(model, Guide(), y, num_samples=5, engine=engine)
    np.testing.assert_array_equal(found["post_sample_means"]["kept"], np.ones(6))
    np.testing.assert_array_equal(found["post_sample_stds"]["kept"], np.zeros(6))
    assert module.training
    assert module.dropout.training
    assert not module.frozen.training
    assert torch.equal(module.frozen.running_mean, mean)


def test_gradients_and_values_of_parameters_are_left(engine):
    y = torch.full((5,), 2.0)
    model, guide = fitted(y, steps=3)
    values = [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]
    identities = [id(p) for p in (*model.parameters(), *guide.parameters())]
    sample(model, guide, y, num_samples=5, engine=engine)
    parameters = (*model.parameters(), *guide.parameters())
    assert [id(p) for p in parameters] == identities
    for parameter, value in zip(parameters, values, strict=True):
        assert parameter.requires_grad
        assert torch.equal(parameter, value)


def test_training_goes_on_after_sampling(engine):
    y = torch.full((5,), 2.0)
    pyro.clear_param_store()
    model, guide = Model(), Guide()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    svi.step(y)
    sample(model, guide, y, num_samples=5, engine=engine)
    before = guide.loc.item()
    for _ in range(5):
        svi.step(y)
    assert guide.loc.item() != before
    assert guide.loc.item() == pyro.param("loc").item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_modules_are_moved_and_put_back():
    y = torch.full((5,), 2.0)
    model, guide = fitted(y, steps=3)
    found = sample(model, guide, y, num_samples=5, device="cuda")
    assert np.isfinite(found["post_sample_means"]["mu"])
    assert {p.device for p in (*model.parameters(), *guide.parameters())} == {CPU}


def test_modules_are_found_behind_callables():
    module, other = Dropped(), Dropped()
    partial = functools.partial(module.forward, other=other)
    assert modules_of(module, module.forward) == [module]
    assert modules_of(partial) == [other, module]
    assert modules_of(poutine.scale(poutine.block(module), scale=2.0)) == [module]
    assert modules_of(print, lambda y: y) == []


def test_modes_are_put_back_after_an_error():
    module = Dropped()

    def within():
        with evaluating([module]):
            assert not module.dropout.training
            raise KeyError

    with pytest.raises(KeyError):
        within()
    assert module.dropout.training


def test_own_parameters_leaves_shared_ones_in_the_store():
    guide = Guide()
    guide(torch.ones(2))
    own = pyro.get_param_store()._params["loc"]
    with own_parameters([guide], CPU):
        assert pyro.get_param_store()._params["loc"] is own
