"""What is predicted: outcomes that rest on each other, whole numbers, rows of new minibatches."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import sample_posterior
from pyro_posterior.errors import RequestError

QUIET = {"show_progress": False, "return_samples": True, "seed": 3}
SERIES = torch.randn(23, 3, generator=torch.Generator().manual_seed(0))


def series(y):
    """Each value is twice the one before it."""
    b = pyro.sample("b", dist.Normal(0.0, 1.0))
    before = torch.zeros(len(y))
    with pyro.plate("obs", 23, subsample_size=len(y)):
        for t in range(3):
            before = pyro.sample(f"y{t}", dist.Normal(2 * before + b, 0.1), obs=y[:, t])


def guide(y):
    pyro.sample("b", dist.Normal(1.0, 0.1))


@pytest.mark.parametrize(
    ("engine", "batch_size"), [("loop", 7), ("sliced", 1), ("sliced", 7), ("sliced", None)]
)
def test_outcomes_follow_the_predictions_that_they_rest_on(engine, batch_size):
    got = sample_posterior(
        series,
        guide,
        (SERIES,),
        num_samples=80,
        predictive=True,
        expected=True,
        engine=engine,
        batch_size=batch_size,
        **QUIET,
    )
    for t in (1, 2):
        before = 2 * got.draws[f"y{t - 1}"] + got.draws["b"][:, None]
        np.testing.assert_allclose(got.draws[f"y{t}_expected"], before, rtol=1e-4, atol=1e-5)
        assert (got.draws[f"y{t}"] - before).std() == pytest.approx(0.1, rel=0.1)
        np.testing.assert_array_equal(got.draws[f"y{t}_observed"][0], SERIES[:, t])
    # b (1 + 2 + 4), whatever the data were
    np.testing.assert_allclose(got.means["y2"], 7.0, atol=0.3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"predictive": True, "log_likelihood": True}, "'y1', 'y2' depends on.*of its own"),
        ({"expected": True}, "Ask for predictive=True, too"),
    ],
)
def test_what_needs_both_data_and_predictions_is_refused(asked, words):
    with pytest.raises(RequestError, match=words):
        sample_posterior(series, guide, (SERIES,), num_samples=4, batch_size=7, **asked, **QUIET)


@pytest.mark.parametrize(
    ("dtype", "made", "drawn"),
    [
        (torch.uint8, lambda r: dist.Poisson(500 * r), torch.int32),
        (torch.int64, lambda r: dist.Poisson(500 * r), torch.int64),
        (torch.float32, lambda r: dist.Poisson(500 * r), torch.float32),
        (torch.int64, lambda r: dist.Normal(500 * r, 0.3), torch.float32),
        (torch.bool, lambda r: dist.Bernoulli(0.25 * r), torch.bool),
    ],
)
def test_predictions_keep_the_values_that_were_drawn(dtype, made, drawn):
    """Whole numbers have room, and numbers with a fraction keep it, whatever the data's dtype is."""

    def model(y):
        r = pyro.sample("r", dist.Gamma(2.0, 1.0))
        with pyro.plate("obs", len(y)):
            pyro.sample("y", made(r), obs=y)

    def exactly_two(y):
        pyro.sample("r", dist.Delta(torch.tensor(2.0)))

    y = torch.ones(200).to(dtype)
    for engine in ("loop", "sliced"):
        got = sample_posterior(
            model,
            exactly_two,
            (y,),
            num_samples=50,
            predictive=True,
            return_sites=["y"],
            engine=engine,
            **QUIET,
        )
        assert got.site("y").dtype == drawn
        fn = made(torch.tensor(2.0))
        sd = float(fn.variance) ** 0.5
        assert float(got.draws["y"].mean()) == pytest.approx(float(fn.mean), abs=sd / 20)
        assert float(got.draws["y"].std()) == pytest.approx(sd, rel=0.05)


def with_locals(x, y=None):
    b = pyro.sample("b", dist.Normal(0.0, 3.0))
    with pyro.plate("obs", len(x)):
        e = pyro.sample("e", dist.Normal(5.0, 1.0))
        pyro.sample("y", dist.Normal(b * x + e, 0.01), obs=y)


@pytest.fixture
def fitted():
    """A guide whose locals are near 100, far from the model's."""
    pyro.clear_param_store()
    values = {"e": torch.full((30,), 100.0), "b": torch.tensor(2.0)}
    made = AutoNormal(with_locals, init_loc_fn=pyro.infer.autoguide.init_to_value(values=values))
    made(torch.zeros(30), torch.zeros(30))
    return made


@pytest.mark.parametrize(("count", "batch_size"), [(60, 30), (45, 30), (30, 30), (30, 7)])
@pytest.mark.filterwarnings("ignore:the guide's values of 'e'")
def test_new_data_in_minibatches_as_long_as_the_old(fitted, count, batch_size):
    got = sample_posterior(
        with_locals,
        fitted,
        (torch.linspace(0.0, 1.0, count),),
        num_samples=200,
        predictive="new",
        batch_size=batch_size,
        **QUIET,
    )
    np.testing.assert_allclose(got.means["e"], 5.0, atol=0.4)
    assert len(np.unique(got.draws["e"][0])) == count


def test_an_intervention_with_rows_needs_all_of_them(fitted):
    def model(x, index):
        with pyro.plate("obs", 21, subsample=index):
            e = pyro.sample("e", dist.Normal(5.0, 1.0))
            pyro.deterministic("twice", 2 * e)

    data = {"x": torch.zeros(21), "index": torch.arange(21)}
    values = torch.arange(7.0)
    with pytest.raises(RequestError, match=r"do\['e'\].*cannot be cut into minibatches"):
        sample_posterior(model, model, data, num_samples=4, batch_size=7, do={"e": values}, **QUIET)
    got = sample_posterior(
        model,
        model,
        data,
        num_samples=4,
        batch_size=7,
        do={"e": 3},
        return_sites=["twice"],
        **QUIET,
    )
    np.testing.assert_array_equal(got.draws["twice"], np.full((4, 21), 6.0, np.float32))


def test_means_that_are_no_numbers_are_refused():
    def model(y):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        with pyro.plate("obs", len(y)):
            pyro.sample("y", dist.Categorical(logits=torch.stack([b, -b])), obs=y)

    with pytest.raises(RequestError, match="mean of 'y' is not a number.*Categorical"):
        sample_posterior(
            model, guide, (torch.ones(9, dtype=torch.long),), expected=True, num_samples=4, **QUIET
        )


def test_a_guide_that_reads_the_outcome_is_named():
    def amortised(x, y):
        pyro.sample("b", dist.Normal(2.0, 0.1))
        with pyro.plate("obs", len(x)):
            pyro.sample("e", dist.Normal(y - 2 * x, 0.1))

    with pytest.raises(TypeError) as caught:
        sample_posterior(
            with_locals, amortised, (torch.zeros(5),), predictive=True, num_samples=4, **QUIET
        )
    assert "amortised was called with None for 'y'" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("engine", ["loop", "sliced"])
def test_the_mean_alone_of_an_outcome_without_data(engine):
    def latent(x, y=None):
        pyro.sample("b", dist.Normal(0.0, 3.0))
        with pyro.plate("obs", len(x)):
            pyro.sample("e", dist.Normal(5.0, 1.0))

    x = torch.arange(6.0)
    got = sample_posterior(
        with_locals,
        latent,
        {"x": x},
        expected=True,
        do={"b": 2.0, "e": 1.0},
        num_samples=3,
        engine=engine,
        **QUIET,
    )
    assert list(got.sites) == ["y_expected"]
    np.testing.assert_array_equal(got.draws["y_expected"], (2 * x + 1).expand(3, -1))


@pytest.mark.parametrize("asked", ["predictive", "log_likelihood"])
@pytest.mark.parametrize("shape", [(12, 1), (5,), (3, 12)])
def test_data_that_do_not_fit_their_plates_are_refused(asked, shape):
    def wide(x, y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("obs", len(x)):
            pyro.sample("y", dist.Normal(mu * x, 1.0), obs=y)

    def guide(x, y):
        pyro.sample("mu", dist.Normal(0.0, 1.0))

    with pytest.raises(RequestError, match="data of 'y' have shape.*'obs' of 12"):
        sample_posterior(
            wide, guide, (torch.ones(12), torch.zeros(shape)), num_samples=4, **{asked: True}
        )
