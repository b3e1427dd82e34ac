"""Sites are drawn together where they share random numbers, and small groups with their neighbours."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced import together
from pyro_posterior.sliced.record import record
from pyro_posterior.sliced.slicing import Slice, slice_record
from toy_models import sample

LOCAL = ("a", "b", "c", "a_and_b", "fixed")


def model(y: torch.Tensor) -> None:
    """``a`` and ``b`` meet in a deterministic site, ``c`` stands alone, ``fixed`` has no draws."""
    g = pyro.sample("g", dist.Normal(0.0, 1.0))
    pyro.sample("h", dist.Normal(0.0, 1.0))
    pyro.deterministic("twice", g * 2)
    with pyro.plate("obs", 40, subsample=torch.arange(len(y))):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        b = pyro.sample("b", dist.Gamma(2.0, 1.0))
        pyro.sample("c", dist.Normal(y, 1.0))
        pyro.deterministic("a_and_b", a * b)
        pyro.deterministic("fixed", y * 2)


def cut() -> Slice:
    names = ("g", "h", "twice", *LOCAL)
    sampler = JointSampler(model, model, seed=3, obs_plate="obs")
    return slice_record(record(sampler, Minibatch(0, (torch.ones(5),)), 0, names), names)


def test_groups_share_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "SMALL_BYTES", 1)
    scopes = (("g", "h", "twice"), LOCAL)
    assert together.drawn_together(cut(), scopes, 10) == [
        ("g", "twice"),
        ("h",),
        ("a", "b", "a_and_b"),
        ("c",),
        ("fixed",),
    ]


def test_small_groups_are_drawn_together() -> None:
    scopes = (("g", "h", "twice"), LOCAL)
    found = together.drawn_together(cut(), scopes, 10)
    assert [set(group) for group in found] == [set(scope) for scope in scopes]
    large = together.drawn_together(cut(), scopes, 4_000_000)  # 5 rows: 80 MB a site
    assert ("c",) in large
    assert ("g", "twice", "h") in large


def test_the_numbers_do_not_depend_on_the_groups(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"num_samples": 12, "return_samples": True, "batch_size": 7, "engine": engine}
    data = (torch.linspace(0.0, 1.0, 20),)
    whole = sample(model, model, data, **options)
    monkeypatch.setattr(together, "SMALL_BYTES", 1)
    cut_up = sample(model, model, data, **options)
    assert list(cut_up["posterior_samples"]) == list(whole["posterior_samples"])
    for name, draws in whole["posterior_samples"].items():
        assert (cut_up["posterior_samples"][name] == draws).all()
    product = cut_up["posterior_samples"]["a"] * cut_up["posterior_samples"]["b"]
    assert (cut_up["posterior_samples"]["a_and_b"] == product).all()
