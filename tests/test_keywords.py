"""Arguments that are unknown, lacking, or given twice are named, with the one that was meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import ArgumentError, sample_posterior

QUIET: dict[str, Any] = {"num_samples": 3, "seed": 0, "show_progress": False}


def model(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.sample("nu", dist.Normal(mu, 1.0))


def guide(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal(0.0, 0.1))
    pyro.sample("nu", dist.Normal(1.0, 0.1))


@pytest.mark.parametrize(
    ("args", "options", "says"),
    [
        ((), {"n_samples": 3}, "'n_samples': did you mean num_samples"),
        ((), {"retrun_sites": ["mu"]}, "did you mean 'return_sites'"),
        ((), {"use_gpu": True}, "accelerator='gpu'"),
        ((), {"zzzz": 1}, "there are accelerator, batch_size"),
        ((torch.ones(2),), {}, "as a tuple"),
        ((), {"model": model}, "'model' twice"),
        ((), {"exclude_vars": ["mu"], "exclude_sites": ["mu"]}, "give one"),
    ],
)
def test_what_does_not_fit_is_named(args: Any, options: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says) as caught:
        sample_posterior(model, guide, torch.ones(2), *args, **options, **QUIET)  # type: ignore[call-arg]
    assert isinstance(caught.value, TypeError)  # as Python's own


def test_what_lacks_is_named() -> None:
    with pytest.raises(ArgumentError, match="lacks guide and data"):
        sample_posterior(model)  # type: ignore[call-arg]


def test_both_names_of_exclusion_give_the_same() -> None:
    found = [
        sample_posterior(model, guide, torch.ones(2), **{name: ["nu"]}, **QUIET)
        for name in ("exclude_vars", "exclude_sites")
    ]
    assert list(found[0].sites) == list(found[1].sites) == ["mu"]
    np.testing.assert_array_equal(found[0].means["mu"], found[1].means["mu"])
