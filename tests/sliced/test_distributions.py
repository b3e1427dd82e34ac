"""Every distribution that pyro can sample, drawn by the loop and by the sliced program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from distributions import DISTRIBUTIONS

from pyro_posterior import sample_posterior

DRAWS = 21  # two whole slabs and a part


def _model(name: str, drawn: bool) -> Any:
    def model() -> None:
        g = pyro.sample("g", dist.Normal(0.0, 1.0))
        pyro.sample("x", DISTRIBUTIONS[name](g if drawn else torch.tensor(0.3)))

    return model


def _draws(model: Any, engine: Any) -> tuple[np.ndarray, str]:
    posterior = sample_posterior(
        model,
        model,
        (),
        engine=engine,
        num_samples=DRAWS,
        seed=5,
        return_samples=True,
        show_progress=False,
    )
    return posterior["posterior_samples"]["x"], posterior.plan.engine


@pytest.mark.parametrize("drawn", [False, True], ids=["fixed", "drawn"])
@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_batched_rows_equal_the_loops_draws(name: str, drawn: bool) -> None:
    model = _model(name, drawn)
    loop, _ = _draws(model, "loop")
    sliced, tier = _draws(model, "sliced")
    assert tier == "batched slice"
    assert sliced.dtype == loop.dtype
    np.testing.assert_allclose(sliced, loop, rtol=1e-5, atol=1e-5 * np.abs(loop).max())
    continuous = loop.dtype.kind == "f" and not np.array_equal(loop, np.round(loop))
    if continuous and (drawn or name != "Delta"):
        assert len(np.unique(loop.reshape(DRAWS, -1), axis=0)) == DRAWS


def test_the_table_holds_every_distribution_that_can_be_sampled() -> None:
    wrappers = {
        "Distribution", "ExponentialFamily", "Empirical", "ExpandedDistribution", "Independent",
        "TransformedDistribution", "MaskedDistribution", "MaskedMixture", "NanMaskedNormal",
        "NanMaskedMultivariateNormal", "Rejector", "RejectionExponential", "RejectionGamma",
        "RejectionStandardGamma", "ShapeAugmentedBeta", "ShapeAugmentedDirichlet",
        "ShapeAugmentedGamma", "TorchDistribution", "TorchDistributionMixin", "ConditionalDistribution",
        "ConditionalTransformedDistribution", "ConstantDistribution", "ConditionalTransform",
        "ConditionalTransformModule", "ComposeTransformModule", "TransformModule", "ReshapedDistribution",
        "ImproperUniform", "LKJ", "LKJCorrCholesky", "VonMises3D", "Unit", "DiscreteHMM", "GammaGaussianHMM",
        "GaussianMRF", "IndependentHMM", "LinearHMM", "CoalescentTimes",
        "CoalescentTimesWithRate", "SpanningTree", "OneTwoMatching", "OneOneMatching",
        "LogNormalNegativeBinomial", "GroupedNormalNormal", "RelaxedBernoulli", "StableWithLogProb",
        "ZeroInflatedDistribution", "GeneralizedPareto", "TransformReparam",
        "PossiblyMaskedNormal",
    }  # fmt: skip
    shipped = {
        name
        for name, value in vars(dist).items()
        if isinstance(value, type) and issubclass(value, torch.distributions.Distribution)
    }
    assert shipped - set(DISTRIBUTIONS) - wrappers == set()
