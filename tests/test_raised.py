"""Errors of the caller's model and guide keep their type and words, with a note whose they are."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal

from pyro_posterior import sample_posterior


class OwnError(Exception):
    """Of a user's model."""


def model(y: torch.Tensor) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("rows", 6, subsample_size=len(y)):
        pyro.sample("z", dist.Normal(mu, 1.0))


def guide(y: torch.Tensor) -> None:
    model(y)


def broken(y: torch.Tensor) -> None:
    if y[0] > 2:
        raise OwnError("beyond two")
    model(y)


@pytest.mark.parametrize("role", ["model", "guide"])
@pytest.mark.parametrize("engine", ["auto", "loop"])
def test_a_note_says_who_raised_and_where(role: str, engine: str) -> None:
    parts = {"model": model, "guide": guide, role: broken}
    data = [torch.full((2,), float(number)) for number in (1, 2, 3)]
    with pytest.raises(OwnError, match="^beyond two") as caught:
        sample_posterior(**parts, data=data, num_samples=2, show_progress=False, engine=engine)
    notes = [note for note in caught.value.__notes__ if note.startswith("raised by")]
    assert notes == [f"raised by the {role}, called with minibatch 2 (from 0)"]


def test_a_guide_of_another_size_is_told_what_to_do() -> None:
    fitted = AutoNormal(model)
    fitted(torch.ones(6))
    with pytest.raises(ValueError, match="subsample_size") as caught:
        sample_posterior(model, fitted, torch.ones(6), batch_size=4, show_progress=False)
    assert any("create_plates=" in note for note in caught.value.__notes__)
