"""Functions in summary_fun with all that they hold: another level is another run."""

from __future__ import annotations

import functools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.errors import StoreError
from store_helpers import run
from toy_models import ConjugateNormal, assert_same

pytest.importorskip("zarr")


class Quantile:
    """Something that is called, with a level of its own."""

    def __init__(self, level):
        self.level = level

    def __call__(self, x, axis):
        return np.quantile(x, self.level[0], axis=axis)

    def method(self, x, axis):
        return self(x, axis)


def closing_over(level):
    return lambda x, axis: np.quantile(x, level[0], axis=axis)


@pytest.mark.parametrize(
    "make",
    [
        lambda level: Quantile([level]),
        lambda level: Quantile(np.array([level])),
        lambda level: Quantile({0: level}),
        lambda level: Quantile([level]).method,
        lambda level: closing_over([level]),
        lambda level: closing_over(np.array([level])),
        lambda level: functools.partial(np.quantile, q=level),
        lambda level: np.median if level < 0.5 else np.mean,
        lambda level: functools.partial(np.median if level < 0.5 else np.mean),
    ],
)
def test_another_level_is_refused_and_the_same_is_not(tmp_path, make):
    toy, kwargs = ConjugateNormal(), {"batch_size": 11, "store": tmp_path / "s.zarr"}
    held = run(toy, toy.data, summary_fun={"q": make(0.1)}, **kwargs)
    assert_same(held, run(toy, toy.data, summary_fun={"q": make(0.1)}, **kwargs))
    with pytest.raises(StoreError, match="functions in summary_fun: "):
        run(toy, toy.data, summary_fun={"q": make(0.9)}, **kwargs)


class OneForEach(ConjugateNormal):
    """A guide with a parameter for every minibatch."""

    def guide(self, y, index=None):
        shift = pyro.param(f"shift{int(index[0])}", torch.tensor(0.0))
        pyro.sample("mu", dist.Normal(y.new_tensor(self.mu_mean), 1.0))
        with pyro.plate("obs", self.num_obs, subsample=index):
            pyro.sample("z", dist.Normal(y + shift, 0.5**0.5))


def test_a_parameter_that_only_a_minibatch_in_the_middle_has(tmp_path):
    toy, kwargs = OneForEach(), {"batch_size": 2, "store": tmp_path / "s.zarr"}
    for first in range(0, 22, 2):
        pyro.param(f"shift{first}", torch.tensor(0.0))
    run(toy, toy.data, **kwargs)
    run(toy, toy.data, **kwargs)
    pyro.get_param_store()["shift10"] = torch.tensor(5.0)
    with pytest.raises(StoreError, match="parameters: "):
        run(toy, toy.data, **kwargs)
