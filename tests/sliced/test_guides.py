"""All of Pyro's guides: the sliced program's draws are the loop's, in the tier the docs name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.infer.autoguide as auto
import pytest
import torch
from pyro.contrib.easyguide import EasyGuide
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide.initialization import init_to_median

from toy_models import sample

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(12)


def model(x: torch.Tensor, index: torch.Tensor) -> None:
    """Two global sites (one positive), one local, and what follows from them."""
    scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    weight = pyro.sample("weight", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    with pyro.plate("obs", 12, subsample=index):
        z = pyro.sample("z", dist.Normal(x @ weight, scale))
        pyro.deterministic("score", z * scale)
        pyro.sample("y", dist.Normal(z, 1.0), obs=x[:, 0])


def _plates(x: torch.Tensor, index: torch.Tensor) -> Any:
    return pyro.plate("obs", 12, subsample=index, dim=-1)


def _full(kind: Callable[..., Any], **options: Any) -> Callable[[], Any]:
    return lambda: kind(model, init_loc_fn=init_to_median, **options)


def _list() -> Any:
    guide = auto.AutoGuideList(model)
    guide.append(auto.AutoNormal(pyro.poutine.block(model, hide=["weight"])))
    guide.append(auto.AutoMultivariateNormal(pyro.poutine.block(model, expose=["weight"])))
    return guide


def _laplace() -> Any:
    guide = auto.AutoLaplaceApproximation(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(200):  # only at the mode is there a normal of the same curvature
        svi.step(X, INDEX)
    return guide.laplace_approximation(X, INDEX)


class Easy(EasyGuide):
    """Globals from one normal, the local site from its mean."""

    def guide(self, x: torch.Tensor, index: torch.Tensor) -> None:
        group = self.group(match="scale|weight")
        loc = pyro.param("loc", torch.zeros(group.event_shape))
        group.sample("group", dist.Normal(loc, 0.1).to_event(1))
        with self.plate("obs", 12, subsample=index):
            pyro.sample("z", dist.Normal(x[:, 0], 0.5))


class Messenger(auto.AutoMessenger):
    """Posterior of each site around a mean of its own."""

    def get_posterior(self, name: str, prior: Any) -> Any:
        if name == "scale":
            return dist.LogNormal(0.1, 0.2)
        return prior


class Encoder(torch.nn.Module):
    """A network of the data gives the local posterior; the globals have parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(3, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.Softplus(),
            torch.nn.Linear(8, 2),
        )

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> None:
        pyro.module("encoder", self)
        pyro.sample("scale", dist.LogNormal(pyro.param("m", torch.tensor(0.1)), 0.1))
        pyro.sample("weight", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("obs", 12, subsample=index):
            loc, log_scale = self.net(x).unbind(-1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))


GUIDES: dict[str, Callable[[], Any]] = {
    "AutoNormal": lambda: auto.AutoNormal(model, create_plates=_plates),
    "AutoDiagonalNormal": _full(auto.AutoDiagonalNormal),
    "AutoMultivariateNormal": _full(auto.AutoMultivariateNormal),
    "AutoLowRankMultivariateNormal": _full(auto.AutoLowRankMultivariateNormal, rank=2),
    "AutoIAFNormal": lambda: auto.AutoIAFNormal(model, hidden_dim=[20], num_transforms=2),
    "AutoNormalizingFlow": lambda: auto.AutoNormalizingFlow(
        model, lambda n: dist.transforms.affine_coupling(n, hidden_dims=[8])
    ),
    "AutoDelta": lambda: auto.AutoDelta(model, create_plates=_plates),
    "AutoLaplaceApproximation": _laplace,
    "AutoStructured": lambda: auto.AutoStructured(
        model,
        conditionals={"scale": "normal", "weight": "mvn", "z": "normal"},
        dependencies={"z": {"weight": "linear"}},
    ),
    "AutoGaussian": lambda: auto.AutoGaussian(model),
    "AutoGuideList": _list,
    "AutoNormalMessenger": lambda: auto.AutoNormalMessenger(model),
    "AutoHierarchicalNormalMessenger": lambda: auto.AutoHierarchicalNormalMessenger(model),
    "AutoRegressiveMessenger": lambda: auto.AutoRegressiveMessenger(model),
    "AutoMessenger": lambda: Messenger(model),
    "EasyGuide": lambda: Easy(model),
    "encoder": Encoder,
}

# Guides that keep a vector over all rows can only be run on all of them.
FULL_DATA_ONLY = {
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
    "AutoIAFNormal",
    "AutoNormalizingFlow",
    "AutoLaplaceApproximation",
    "AutoGaussian",
    "AutoStructured",
    "AutoGuideList",
}


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_the_batched_slice_gives_the_loops_draws(name: str) -> None:
    guide = GUIDES[name]()
    _fit(guide)
    batch_size = None if name in FULL_DATA_ONLY else 5
    options = {"num_samples": 19, "return_samples": True, "batch_size": batch_size}
    loop = sample(model, guide, (X, INDEX), engine="loop", **options)["posterior_samples"]
    posterior = sample(model, guide, (X, INDEX), engine="sliced", **options)
    assert posterior.plan.engine == "batched slice"
    for site, draws in loop.items():
        found = posterior["posterior_samples"][site]
        np.testing.assert_allclose(found, draws, rtol=2e-5, atol=1e-5 * np.abs(draws).max())
    if name != "AutoDelta":
        assert len(np.unique(loop["weight"][:, 0])) == 19


def _fit(guide: Any) -> None:
    """A few steps, so that the guide is set up and off its initial values."""
    guide(X, INDEX)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    for _ in range(2):
        svi.step(X, INDEX)
