"""A global site has one value behind all minibatches, or an error names it."""

from __future__ import annotations

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.errors import PosteriorWarning, RequestError
from toy_models import assert_same

X = torch.arange(12.0)


def _batches(size):
    return [(X[i], i) for i in torch.arange(12).split(size)]


def _model(globally):
    def model(x, index):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        g = pyro.deterministic("g", globally(u, x))
        with pyro.plate("cells", 12, subsample=index):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("local", g + x)
        pyro.deterministic("after", z.mean() if globally is _of_rows else u * 2)

    return model


def _free(u, x):
    return u + torch.randn(())


def _statistic(u, x):
    return u + x.mean()


def _of_rows(u, x):
    return u


def _python(u, x):
    return u + random.random()


def _numpy(u, x):
    return u + np.random.standard_normal()


def _guide(x, index):
    pyro.sample("u", dist.Normal(0.0, 1.0))
    with pyro.plate("cells", 12, subsample=index):
        pyro.sample("z", dist.Normal(x, 1.0))


def _amortised(x, index):
    pyro.sample("u", dist.Normal(x.mean(), 0.1))
    with pyro.plate("cells", 12, subsample=index):
        pyro.sample("z", dist.Normal(x, 1.0))


def _amortised_count(x, index):
    """Two minibatches may well draw the same number: the flow tells all the same."""
    pyro.sample("u", dist.Poisson(0.05 + 0.05 * x.mean()))
    with pyro.plate("cells", 12, subsample=index):
        pyro.sample("z", dist.Normal(x, 1.0))


CASES = {
    "free randomness": (_free, _guide, "g"),
    "a statistic of the minibatch": (_statistic, _guide, "g"),
    "a mean over rows": (_of_rows, _guide, "after"),
    "Python's randomness": (_python, _guide, "g"),
    "NumPy's randomness": (_numpy, _guide, "g"),
    "an amortised guide": (_of_rows, _amortised, "u"),
    "an amortised guide of counts": (_of_rows, _amortised_count, "u"),
}


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("case", CASES)
def test_a_global_that_differs_between_minibatches_is_refused(draw, case, size):
    globally, guide, name = CASES[case]
    with pytest.raises(RequestError, match=r"no rows and yet other values in minibatches"):
        draw(_model(globally), guide, _batches(size))
    with pytest.raises(RequestError, match=f"site '{name}' has no rows and yet other values"):
        draw(_model(globally), guide, _batches(size), return_sites=[name])
    whole = draw(_model(globally), guide, _batches(12))["posterior_samples"]
    np.testing.assert_allclose(whole["local"], whole["g"][:, None] + X.numpy(), rtol=1e-5)


def _of_one_row(x, index):
    pyro.sample("u", dist.Normal(5 * (x == 14).float().sum(), 0.1))


def _of_one_row_in_numpy(x, index):
    pyro.sample("u", dist.Normal(5.0 * float((x.numpy() == 14).sum()), 0.1))


@pytest.mark.parametrize("guide", [_of_one_row, _of_one_row_in_numpy])
def test_a_global_that_differs_in_one_minibatch_in_the_middle(draw, guide):
    def model(x, index):
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        with pyro.plate("cells", 20, subsample=index):
            pyro.deterministic("local", u + x)

    batches = [(i.float(), i) for i in torch.arange(20).split(2)]
    with pytest.raises(RequestError, match="'u' has no rows and yet other .* minibatches 0 and 7"):
        draw(model, guide, batches)
    others = draw(model, guide, [batch for batch in batches if 14 not in batch[1]])
    np.testing.assert_allclose(others["post_sample_means"]["u"], 0.0, atol=0.1)


@pytest.mark.parametrize("case", ["free randomness", "an amortised guide"])
def test_left_out_it_is_still_said(draw, case):
    globally, guide, name = CASES[case]
    with pytest.warns(PosteriorWarning, match=f"'{name}'.* one joint draw within their minibatch"):
        draw(_model(globally), guide, _batches(4), return_sites=["local"])


def test_true_globals_pass(draw):
    model = _model(lambda u, x: 3 * u)
    parts = draw(model, _guide, _batches(5))["posterior_samples"]
    np.testing.assert_allclose(
        parts["local"], parts["g"][:, None] + X.numpy(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("randomness", [_python, _numpy])
def test_other_libraries_random_numbers_follow_the_seed(face, randomness):
    model, results = _model(randomness), []
    for engine, state in (("loop", 1), ("auto", 2), ("loop", 3)):
        random.seed(state)
        np.random.seed(state)
        before = random.getstate()
        options = {"num_samples": 6, "return_samples": True, "engine": engine}
        results.append(face(model, _guide, [(X, torch.arange(12))], **options))
        assert random.getstate() == before
    for other in results[1:]:
        assert_same(results[0], other)
    noise = results[0]["posterior_samples"]["g"] - results[0]["posterior_samples"]["u"]
    assert len(np.unique(noise.round(4))) == 6  # other numbers in each draw


def test_random_numbers_that_no_seed_fixes_are_said(draw):
    generator = np.random.default_rng(0)

    def own(u, x):
        return u + generator.standard_normal()

    with pytest.warns(PosteriorWarning, match="'g'.*the same seed will not give the same numbers"):
        draw(_model(own), _guide, [(X, torch.arange(12))], return_sites=["u", "g"])
