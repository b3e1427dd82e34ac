"""A distribution that is none does not go unsaid, and nothing is said of those that are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import sample_posterior
from pyro_posterior.errors import PosteriorWarning

QUIET: dict[str, Any] = {"num_samples": 4, "seed": 0, "show_progress": False}


def drawn_from(make: Callable[[], Any]) -> Callable[[torch.Tensor], None]:
    def function(y: torch.Tensor) -> None:
        pyro.sample("z", make())

    return function


INVALID = {
    "scale": (lambda: dist.Normal(0.0, -1.0), "guide draws 'z' from Normal with scale -1"),
    "inside": (
        lambda: dist.Normal(torch.zeros(3), torch.tensor([1.0, -2.0, 1.0])).to_event(1),
        "scale -2",
    ),
    "under a transform": (
        lambda: dist.TransformedDistribution(
            dist.Normal(0.0, torch.tensor(-3.0)), [dist.transforms.ExpTransform()]
        ),
        "scale -3",
    ),
}

VALID = {
    "normal": lambda: dist.Normal(0.0, 1.0),
    "simplex": lambda: dist.Dirichlet(torch.ones(4)),
    "logits": lambda: dist.Categorical(logits=torch.zeros(3)),
    "precision": lambda: dist.MultivariateNormal(torch.zeros(2), precision_matrix=torch.eye(2)),
    "uniform": lambda: dist.Uniform(-1.0, 2.0),
    "delta": lambda: dist.Delta(torch.tensor(-1.0)),
    "low rank": lambda: dist.LowRankMultivariateNormal(
        torch.zeros(3), torch.ones(3, 1), torch.ones(3)
    ),
    "mixture": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2), 1.0)
    ),
    "masked": lambda: dist.Normal(0.0, 1.0).mask(torch.tensor(True)),
    "expanded": lambda: dist.Gamma(1.0, 2.0).expand([3]).to_event(1),
}


@pytest.mark.parametrize(("make", "says"), INVALID.values(), ids=INVALID)
def test_arguments_outside_what_they_may_be_are_told(make: Any, says: str) -> None:
    function = drawn_from(make)
    with pyro.validation_enabled(False):
        function(torch.ones(2))  # which Pyro takes only without its checks
    with pytest.raises(ValueError, match="constraint"), pyro.validation_enabled(True):
        function(torch.ones(2))
    with pytest.warns(PosteriorWarning, match=says) as seen:
        sample_posterior(function, function, torch.ones(2), **QUIET)
    assert len(seen) == 1


def test_nothing_is_said_where_checks_are_off() -> None:
    function = drawn_from(INVALID["scale"][0])
    with pyro.validation_enabled(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        sample_posterior(function, function, torch.ones(2), **QUIET)


@pytest.mark.parametrize("make", VALID.values(), ids=VALID)
def test_nothing_is_said_of_what_is_right(make: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", PosteriorWarning)
        sample_posterior(drawn_from(make), drawn_from(make), torch.ones(2), **QUIET)


def test_nan_is_counted_instead() -> None:
    function = drawn_from(lambda: dist.Normal(torch.tensor(torch.nan), 1.0))
    with pytest.warns(PosteriorWarning, match="NaN or infinite") as seen:
        found = sample_posterior(function, function, torch.ones(2), **QUIET)
    assert len(seen) == 1
    assert found.nonfinite == {"z": 4}
