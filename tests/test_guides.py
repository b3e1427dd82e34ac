"""Guides of every kind: sampled values agree with what the guide itself says of them."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoDiscreteParallel,
    AutoGaussian,
    AutoGuideList,
    AutoHierarchicalNormalMessenger,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
    AutoNormalMessenger,
    AutoStructured,
)
from pyro.infer.autoguide.initialization import init_to_value
from pyro.nn import PyroModule

from pyro_posterior.errors import PosteriorWarning
from toy_models import assert_same, assert_within, sample

NUM_OBS = 9
Y = torch.linspace(0.5, 4.0, NUM_OBS)


def model(y, index=None):
    """A positive global, a local per row, a deterministic of both."""
    scale = pyro.sample("scale", dist.LogNormal(y.new_tensor(0.0), 0.5))
    with pyro.plate("obs", NUM_OBS, subsample=index):
        z = pyro.sample("z", dist.Normal(scale, 1.0))
        pyro.deterministic("product", scale * z)
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def plates(y, index=None):
    return pyro.plate("obs", NUM_OBS, subsample=index)


def fit(guide, steps=30, loss=None, model=model, data=(Y,)):
    """A few steps: parameters that are no longer the initial ones."""
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), loss or Trace_ELBO())
    for _ in range(steps):
        svi.step(*data)
    return guide


def draws_of(guide, engine, model=model, data=(Y,), num_samples=240, **options):
    """Draws of one fitted guide, after the joint draw was found to be one."""
    posterior = sample(
        model,
        guide,
        data,
        num_samples=num_samples,
        return_samples=True,
        engine=engine,
        **options,
    )
    draws = posterior["posterior_samples"]
    if "product" in draws:
        wanted = draws["scale"][:, None] * draws["z"]
        np.testing.assert_allclose(draws["product"], wanted, rtol=1e-6)
    return draws


def assert_quantiles(draws, guide, *args):
    """As many draws lie below the guide's own quantiles as should."""
    levels = [0.1, 0.5, 0.9]
    for name, values in guide.quantiles(levels, *args).items():
        values = values.detach() if isinstance(values, torch.Tensor) else torch.stack(list(values))
        for level, value in zip(levels, values.detach().cpu().numpy(), strict=True):
            below = (draws[name] < value).mean(0)
            error = (level * (1 - level) / len(draws[name])) ** 0.5
            assert_within(below, level, error, f"{name} below its {level} quantile")


@pytest.mark.parametrize(
    "make",
    [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal, AutoLowRankMultivariateNormal],
)
def test_guides_that_know_their_quantiles(engine, make):
    guide = fit(make(model))
    draws = draws_of(guide, engine)
    assert_quantiles(draws, guide, Y)


def test_auto_normal_in_minibatches(engine):
    guide = AutoNormal(model, create_plates=plates)
    data = (Y, torch.arange(NUM_OBS))
    fit(guide, data=data)
    draws = draws_of(guide, engine, data=data, batch_size=4)
    assert_quantiles(draws, guide, *data)
    whole = draws_of(guide, engine, data=data)
    np.testing.assert_array_equal(draws["scale"], whole["scale"])


def test_auto_delta(engine):
    guide = fit(AutoDelta(model))
    draws = draws_of(guide, engine, num_samples=9)
    assert all(type(x) is np.ndarray for x in draws.values())
    for name, value in guide.median(Y).items():
        value = value.detach().cpu().numpy()
        np.testing.assert_array_equal(draws[name], np.broadcast_to(value, (9, *value.shape)))


def test_auto_iaf_normal(engine):
    guide = fit(AutoIAFNormal(model, hidden_dim=[16]))
    _assert_moments(draws_of(guide, engine, num_samples=300), _by_pyro(guide, model, 300))


def test_auto_laplace(engine):
    guide = fit(AutoLaplaceApproximation(model), steps=100).laplace_approximation(Y)
    draws = draws_of(guide, engine)
    assert_quantiles(draws, guide, Y)


def test_auto_structured(engine):
    guide = AutoStructured(
        model,
        conditionals={"scale": "normal", "z": "normal"},
        dependencies={"z": {"scale": "linear"}},
    )
    _assert_moments(draws_of(fit(guide), engine, num_samples=300), _by_pyro(guide, model, 300))


def test_auto_gaussian(engine):
    def gaussian(y):
        mu = pyro.sample("mu", dist.Normal(y.new_tensor(0.0), 1.0))
        with pyro.plate("obs", NUM_OBS):
            z = pyro.sample("z", dist.Normal(mu, 1.0))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    guide = AutoGaussian(gaussian, backend="dense")
    fit(guide, model=gaussian)
    draws = draws_of(guide, engine, model=gaussian, num_samples=300)
    _assert_moments(draws, _by_pyro(guide, gaussian, 300))


def _mixture(y):
    weights = pyro.sample("weights", dist.Dirichlet(y.new_ones(2)))
    with pyro.plate("obs", NUM_OBS):
        k = pyro.sample("k", dist.Categorical(weights), infer={"enumerate": "parallel"})
        pyro.sample("y", dist.Normal(k * 3.0 + 1.0, 0.5), obs=y)


def _mixture_guide():
    guide = AutoGuideList(_mixture)
    guide.append(AutoNormal(poutine.block(_mixture, expose=["weights"])))
    guide.append(AutoDiscreteParallel(poutine.block(_mixture, expose=["k"])))
    return guide


def test_a_list_of_a_normal_and_a_discrete_guide(engine):
    guide = _mixture_guide()
    fit(guide, model=config_enumerate(_mixture), loss=TraceEnum_ELBO(max_plate_nesting=1))
    options = {"model": _mixture, "num_samples": 800}
    draws = draws_of(guide, engine, **options)
    assert draws["k"].shape == (800, NUM_OBS)
    probs = pyro.param("AutoGuideList.1.k_probs").detach().numpy()[:, 1]
    assert_within(draws["k"].mean(0), probs, np.sqrt(probs * (1 - probs) / 800) + 1e-4, "k")
    np.testing.assert_allclose(draws["weights"].sum(-1), 1.0, rtol=1e-5)


def test_a_list_with_a_hand_written_part(engine):
    def local_guide(y):
        loc = pyro.param("loc", lambda: torch.zeros(NUM_OBS))
        with guide.plates["obs"]:
            pyro.sample("z", dist.Normal(loc + 5.0, 0.1))

    guide = AutoGuideList(model)
    guide.append(AutoNormal(poutine.block(model, expose=["scale"])))
    guide.append(local_guide)
    draws = draws_of(guide, engine, num_samples=100)
    assert_within(draws["z"].mean(0), 5.0, 0.01, "z")


@pytest.mark.parametrize("make", [AutoNormalMessenger, AutoHierarchicalNormalMessenger])
def test_messenger_guides(engine, make):
    guide = make(model)
    guide(Y)
    fit(guide)
    _assert_moments(draws_of(guide, engine, num_samples=300), _by_pyro(guide, model, 300))


@pytest.mark.parametrize("make", [AutoNormalMessenger, AutoHierarchicalNormalMessenger])
def test_messenger_guides_in_minibatches(engine, make):
    guide = make(model, amortized_plates=("obs",)) if make is AutoNormalMessenger else make(model)
    index = torch.arange(NUM_OBS)
    guide(Y, index)
    fit(guide, data=(Y, index))
    whole = draws_of(guide, engine, data=(Y, index))
    parts = draws_of(guide, engine, data=(Y, index), batch_size=4)
    np.testing.assert_array_equal(whole["scale"], parts["scale"])
    _assert_moments(parts, whole)


def test_a_messenger_guide_that_was_never_run_is_told(engine):
    def make():
        pyro.clear_param_store()
        return AutoNormalMessenger(model)

    with pytest.warns(PosteriorWarning, match="never been run"):
        one = sample(model, make(), (Y,), num_samples=9, engine=engine)
    torch.rand(7)
    assert_same(one, sample(model, make(), (Y,), num_samples=9, engine=engine))


class Encoder(PyroModule):
    """A hand-written guide: a neural encoder for the rows, parameters for the global."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(1, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.ReLU()
        )
        self.head = torch.nn.Linear(8, 2)

    def encode(self, y):
        loc, log_scale = self.head(self.layers(y[:, None])).unbind(-1)
        return loc, (log_scale / 4).exp()

    def forward(self, y, index=None):
        loc = pyro.param("scale_loc", lambda: y.new_tensor(0.3))
        pyro.sample("scale", dist.LogNormal(loc, 0.2))
        with plates(y, index):
            pyro.sample("z", dist.Normal(*self.encode(y)))


@pytest.mark.parametrize("training", [True, False])
def test_a_neural_encoder_in_minibatches(engine, training):
    guide, data = Encoder(), (Y, torch.arange(NUM_OBS))
    guide.train()
    fit(guide, data=data)
    guide.train(training)
    draws = draws_of(guide, engine, data=data, batch_size=4)
    modes = [part.training for part in guide.modules()]
    assert set(modes) == {training}
    guide.cpu().eval()
    with torch.no_grad():
        loc, scale = (x.numpy() for x in guide.encode(Y))
    num = len(draws["z"])
    assert_within(draws["z"].mean(0), loc, scale / num**0.5, "mean")
    assert_within(draws["z"].std(0), scale, scale / (2 * num) ** 0.5, "sd")
    whole = draws_of(guide, engine, data=data)
    np.testing.assert_array_equal(whole["scale"], draws["scale"])


def test_initial_values_of_a_new_guide_are_kept(engine):
    """A guide that was never run still honours its init function."""
    wanted = {"scale": torch.tensor(2.0), "z": torch.full((NUM_OBS,), 7.0)}
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=wanted), init_scale=1e-4)
    draws = draws_of(guide, engine, num_samples=8)
    np.testing.assert_allclose(draws["z"], 7.0, atol=0.01)
    np.testing.assert_allclose(draws["scale"], 2.0, atol=0.01)


def _by_pyro(guide, model, num):
    """Draws by pyro alone, for guides that do not tell their own moments."""
    found: dict[str, list] = {}
    with torch.no_grad():
        for _ in range(num):
            guide_trace = poutine.trace(guide).get_trace(Y)
            trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(Y)
            for name in trace.stochastic_nodes:
                found.setdefault(name, []).append(trace.nodes[name]["value"].numpy())
    return {name: np.stack(values) for name, values in found.items()}


def _assert_moments(draws, other):
    """Two sets of draws have the same means and standard deviations, as far as can be told."""
    for name in set(draws) & set(other):
        a, b = draws[name].astype(float), other[name].astype(float)
        error = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b))
        assert_within(a.mean(0), b.mean(0), error, f"mean of {name}")
        spread = [_error_of_sd(x) ** 2 for x in (a, b)]
        assert_within(a.std(0), b.std(0), np.sqrt(sum(spread)), f"sd of {name}")


def _error_of_sd(x):
    sd = x.std(0)
    fourth = ((x - x.mean(0)) ** 4).mean(0)
    return np.sqrt(np.maximum(fourth - sd**4, 0) / (4 * sd**2 * len(x)))
