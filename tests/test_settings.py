"""Settings hold for calls, and take neither other names nor what is no value of theirs."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior import RequestError, sample_posterior, settings


def model(y: torch.Tensor) -> None:
    pyro.sample("mu", dist.Normal(0.0, 1.0))


def test_they_hold_for_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "seed", 41)
    monkeypatch.setattr(settings, "engine", "loop")
    found = sample_posterior(model, model, torch.ones(2), num_samples=2, show_progress=False)
    assert found.seed == 41
    assert found.plan.engine == "loop"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("sed", 1, "the settings are"),
        ("seed", "a", "whole number or None"),
        ("seed", 1.5, "found 1.5"),
        ("batch_size", 0, "above 0"),
        ("batch_size", True, "above 0"),
        ("engine", "fast", "'auto', 'sliced' or 'loop'"),
    ],
)
def test_what_is_no_setting_is_refused(name: str, value: object, says: str) -> None:
    before = {each: getattr(settings, each) for each in ("seed", "engine", "batch_size")}
    with pytest.raises(RequestError, match=says):
        setattr(settings, name, value)
    assert {each: getattr(settings, each) for each in before} == before
