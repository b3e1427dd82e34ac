"""Sites of every distribution that torch and pyro ship, for the table of tiers."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch

Maker = Callable[[torch.Tensor], dist.Distribution]


def _positive(g: torch.Tensor, *shape: int) -> torch.Tensor:
    """Positive parameters that depend on ``g``, different in every place."""
    steps = torch.linspace(0.5, 1.5, max(1, torch.Size(shape).numel())).reshape(shape)
    return steps + g.abs()


def _logits(g: torch.Tensor, *shape: int) -> torch.Tensor:
    return _positive(g, *shape) - 1.0


def _simplex(g: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.softmax(_logits(g, *shape), -1)


def _tril(g: torch.Tensor, size: int) -> torch.Tensor:
    return torch.eye(size) * _positive(g, size) + 0.1 * torch.ones(size, size).tril(-1)


#: Each takes a scalar ``g`` that its parameters depend on.
DISTRIBUTIONS: dict[str, Maker] = {
    "AffineBeta": lambda g: dist.AffineBeta(
        _positive(g, 3), _positive(g, 3), torch.zeros(3), torch.ones(3)
    ),
    "AsymmetricLaplace": lambda g: dist.AsymmetricLaplace(g, _positive(g, 3), _positive(g, 3)),
    "SoftAsymmetricLaplace": lambda g: dist.SoftAsymmetricLaplace(
        g, _positive(g, 3), _positive(g, 3), _positive(g, 3)
    ),
    "AVFMultivariateNormal": lambda g: dist.AVFMultivariateNormal(
        g.expand(2), _tril(g, 2), torch.zeros(2, 1, 2)
    ),
    "Bernoulli": lambda g: dist.Bernoulli(logits=_logits(g, 3)),
    "Beta": lambda g: dist.Beta(_positive(g, 3), _positive(g, 3)),
    "BetaBinomial": lambda g: dist.BetaBinomial(_positive(g, 3), _positive(g, 3), 5),
    "Binomial": lambda g: dist.Binomial(7, logits=_logits(g, 3)),
    "Categorical": lambda g: dist.Categorical(logits=_logits(g, 4)),
    "Cauchy": lambda g: dist.Cauchy(g, _positive(g, 3)),
    "Chi2": lambda g: dist.Chi2(_positive(g, 3)),
    "ContinuousBernoulli": lambda g: dist.ContinuousBernoulli(logits=_logits(g, 3)),
    "Delta": lambda g: dist.Delta(_positive(g, 3)),
    "Dirichlet": lambda g: dist.Dirichlet(_positive(g, 4)),
    "DirichletMultinomial": lambda g: dist.DirichletMultinomial(_positive(g, 4), 9),
    "Exponential": lambda g: dist.Exponential(_positive(g, 3)),
    "ExtendedBetaBinomial": lambda g: dist.ExtendedBetaBinomial(
        _positive(g, 3), _positive(g, 3), 5
    ),
    "ExtendedBinomial": lambda g: dist.ExtendedBinomial(7, logits=_logits(g, 3)),
    "FisherSnedecor": lambda g: dist.FisherSnedecor(_positive(g, 3) + 3, _positive(g, 3) + 3),
    "FoldedDistribution": lambda g: dist.FoldedDistribution(dist.Normal(g, _positive(g, 3))),
    "Gamma": lambda g: dist.Gamma(_positive(g, 3), 2.0),
    "GammaPoisson": lambda g: dist.GammaPoisson(_positive(g, 3), _positive(g, 3)),
    "GaussianHMM": lambda g: dist.GaussianHMM(
        dist.MultivariateNormal(g.expand(2), torch.eye(2)),
        torch.eye(2),
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        torch.eye(2),
        dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        duration=3,
    ),
    "GaussianScaleMixture": lambda g: dist.GaussianScaleMixture(
        torch.ones(2), torch.zeros(3), _positive(g, 3)
    ),
    "Geometric": lambda g: dist.Geometric(logits=_logits(g, 3)),
    "Gumbel": lambda g: dist.Gumbel(g, _positive(g, 3)),
    "HalfCauchy": lambda g: dist.HalfCauchy(_positive(g, 3)),
    "HalfNormal": lambda g: dist.HalfNormal(_positive(g, 3)),
    "InverseGamma": lambda g: dist.InverseGamma(_positive(g, 3) + 1, _positive(g, 3)),
    "Kumaraswamy": lambda g: dist.Kumaraswamy(_positive(g, 3), _positive(g, 3)),
    "LKJCholesky": lambda g: dist.LKJCholesky(3, _positive(g)),
    "Laplace": lambda g: dist.Laplace(g, _positive(g, 3)),
    "LogNormal": lambda g: dist.LogNormal(g, _positive(g, 3)),
    "Logistic": lambda g: dist.Logistic(g, _positive(g, 3)),
    "LogisticNormal": lambda g: dist.LogisticNormal(g.expand(3), _positive(g, 3)),
    "LowRankMultivariateNormal": lambda g: dist.LowRankMultivariateNormal(
        g.expand(3), torch.ones(3, 1), _positive(g, 3)
    ),
    "MixtureOfDiagNormals": lambda g: dist.MixtureOfDiagNormals(
        torch.zeros(2, 3) + g, _positive(g, 2, 3), torch.zeros(2)
    ),
    "MixtureOfDiagNormalsSharedCovariance": lambda g: dist.MixtureOfDiagNormalsSharedCovariance(
        torch.zeros(2, 3) + g, _positive(g, 3), torch.zeros(2)
    ),
    "MixtureSameFamily": lambda g: dist.MixtureSameFamily(
        dist.Categorical(logits=_logits(g, 3)), dist.Normal(g.expand(3), _positive(g, 3))
    ),
    "Multinomial": lambda g: dist.Multinomial(9, logits=_logits(g, 4)),
    "MultivariateNormal": lambda g: dist.MultivariateNormal(g.expand(3), scale_tril=_tril(g, 3)),
    "MultivariateStudentT": lambda g: dist.MultivariateStudentT(
        _positive(g) + 2, g.expand(3), _tril(g, 3)
    ),
    "NegativeBinomial": lambda g: dist.NegativeBinomial(_positive(g, 3), logits=_logits(g, 3)),
    "Normal": lambda g: dist.Normal(g, _positive(g, 3)),
    "OMTMultivariateNormal": lambda g: dist.OMTMultivariateNormal(g.expand(2), _tril(g, 2)),
    "OneHotCategorical": lambda g: dist.OneHotCategorical(logits=_logits(g, 4)),
    "OneHotCategoricalStraightThrough": lambda g: dist.OneHotCategoricalStraightThrough(
        logits=_logits(g, 4)
    ),
    "OrderedLogistic": lambda g: dist.OrderedLogistic(g.expand(3), torch.tensor([-1.0, 0.0, 1.0])),
    "Pareto": lambda g: dist.Pareto(_positive(g, 3), _positive(g, 3) + 1),
    "Poisson": lambda g: dist.Poisson(_positive(g, 3)),
    "ProjectedNormal": lambda g: dist.ProjectedNormal(_positive(g, 3)),
    "RelaxedBernoulliStraightThrough": lambda g: dist.RelaxedBernoulliStraightThrough(
        torch.tensor(0.5), logits=_logits(g, 3)
    ),
    "RelaxedOneHotCategorical": lambda g: dist.RelaxedOneHotCategorical(
        torch.tensor(0.5), logits=_logits(g, 3)
    ),
    "RelaxedOneHotCategoricalStraightThrough": lambda g: (
        dist.RelaxedOneHotCategoricalStraightThrough(torch.tensor(0.5), logits=_logits(g, 3))
    ),
    "SineBivariateVonMises": lambda g: dist.SineBivariateVonMises(
        g.expand(()), g.expand(()), _positive(g) + 2, _positive(g) + 2, torch.tensor(0.5)
    ),
    "SineSkewed": lambda g: dist.SineSkewed(
        dist.VonMises(g.expand(1), _positive(g, 1)).to_event(1), g.tanh().expand(1)
    ),
    "SkewLogistic": lambda g: dist.SkewLogistic(g, _positive(g, 3), _positive(g, 3)),
    "SoftLaplace": lambda g: dist.SoftLaplace(g, _positive(g, 3)),
    "Stable": lambda g: dist.Stable(torch.tensor(1.5), torch.tensor(0.1), _positive(g, 3), g),
    "StudentT": lambda g: dist.StudentT(_positive(g, 3) + 2, g, _positive(g, 3)),
    "TruncatedPolyaGamma": lambda g: dist.TruncatedPolyaGamma(torch.ones(3) + 0 * g),
    "Uniform": lambda g: dist.Uniform(g, g + _positive(g, 3)),
    "VonMises": lambda g: dist.VonMises(g.expand(3), _positive(g, 3)),
    "Weibull": lambda g: dist.Weibull(_positive(g, 3), _positive(g, 3)),
    "Wishart": lambda g: dist.Wishart(torch.tensor(5.0) + g.abs(), scale_tril=_tril(g, 2)),
    "ZeroInflatedNegativeBinomial": lambda g: dist.ZeroInflatedNegativeBinomial(
        _positive(g, 3), logits=_logits(g, 3), gate=torch.tensor(0.3)
    ),
    "ZeroInflatedPoisson": lambda g: dist.ZeroInflatedPoisson(_positive(g, 3), gate=0.3 + 0 * g),
}
