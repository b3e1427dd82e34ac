"""Distributions of torch and pyro whose Python code looks at draws, written so that it does not.

While draws are keyed, these methods stand in for the originals: the same distributions, as operations
that know nothing of values. What they leave out are checks of arguments, which `validate_args` makes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from pyro.distributions import projected_normal, sine_bivariate_von_mises, sine_skewed
from torch import distributions as dist
from torch.distributions.multivariate_normal import _precision_to_scale_tril
from torch.distributions.utils import broadcast_all

from pyro_posterior.keyed.angles import sine_bivariate_op, von_mises_op, wrapped

_NO_SHAPE = torch.Size()


def _von_mises(self: Any, sample_shape: torch.Size = _NO_SHAPE) -> torch.Tensor:
    shape = self._extended_shape(sample_shape)
    made: torch.Tensor = von_mises_op(self.loc.expand(shape), self.concentration.expand(shape))
    return made


def _sine_init(
    self: Any,
    phi_loc: Any,
    psi_loc: Any,
    phi_concentration: Any,
    psi_concentration: Any,
    correlation: Any = None,
    weighted_correlation: Any = None,
    validate_args: bool | None = None,
) -> None:
    if (correlation is None) == (weighted_correlation is None):
        raise AssertionError("give correlation or weighted_correlation")
    if weighted_correlation is not None:
        root = torch.as_tensor(phi_concentration * psi_concentration).sqrt()
        correlation = weighted_correlation * root
    names = ("phi_loc", "psi_loc", "phi_concentration", "psi_concentration", "correlation")
    given = (phi_loc, psi_loc, phi_concentration, psi_concentration, correlation)
    for name, value in zip(names, broadcast_all(*given), strict=True):
        setattr(self, name, value)
    dist.Distribution.__init__(self, self.phi_loc.shape, torch.Size([2]), validate_args)


def _sine_expand(self: Any, batch_shape: Any, _instance: Any = None) -> Any:
    new = self._get_checked_instance(sine_bivariate_von_mises.SineBivariateVonMises, _instance)
    for name in self.arg_constraints:
        setattr(new, name, getattr(self, name).expand(batch_shape))
    dist.Distribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
    new._validate_args = self._validate_args
    return new  # its constant is made when a density is asked for


def _sine(self: Any, sample_shape: torch.Size = _NO_SHAPE) -> torch.Tensor:
    shape = torch.Size(sample_shape) + self.batch_shape
    names = ("phi_concentration", "psi_concentration", "correlation")
    made = sine_bivariate_op(*(getattr(self, name).expand(shape) for name in names))
    return wrapped(made + torch.stack([self.phi_loc, self.psi_loc], -1))


def _skewed_init(
    self: Any, base_dist: Any, skewness: torch.Tensor, validate_args: bool | None = None
) -> None:
    batch = torch.broadcast_shapes(base_dist.batch_shape, skewness.shape[:-1])
    self.skewness = skewness.broadcast_to(batch + skewness.shape[-1:])
    self.base_dist = base_dist.expand(batch)
    dist.Distribution.__init__(self, batch, skewness.shape[-1:], validate_args)


def _safe_normalize(x: torch.Tensor, *, p: float = 2) -> torch.Tensor:
    norm = torch.linalg.norm(x, dim=-1, ord=p, keepdim=True)
    first = torch.arange(x.shape[-1], device=x.device) == 0
    return torch.where(norm == 0, first.to(x.dtype), x / norm.clamp(min=torch.finfo(x.dtype).tiny))


def _wishart_init(
    self: Any,
    df: Any,
    covariance_matrix: torch.Tensor | None = None,
    precision_matrix: torch.Tensor | None = None,
    scale_tril: torch.Tensor | None = None,
    validate_args: bool | None = None,
) -> None:
    given = {
        "covariance_matrix": covariance_matrix,
        "precision_matrix": precision_matrix,
        "scale_tril": scale_tril,
    }
    ((name, matrix),) = ((name, value) for name, value in given.items() if value is not None)
    df = torch.as_tensor(df, dtype=matrix.dtype, device=matrix.device)
    batch = torch.broadcast_shapes(matrix.shape[:-2], df.shape)
    self.df = df.expand(batch)
    setattr(self, name, matrix.expand(*batch, -1, -1))
    dist.Distribution.__init__(self, batch, matrix.shape[-2:], validate_args=validate_args)
    self._batch_dims = [-(axis + 1) for axis in range(len(batch))]
    if name == "precision_matrix":
        matrix = _precision_to_scale_tril(matrix)
    elif name == "covariance_matrix":
        matrix = torch.linalg.cholesky(matrix)
    self._unbroadcasted_scale_tril = matrix
    size = torch.arange(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    freedom = self.df.unsqueeze(-1) - size
    low = torch.full((), math.nan, dtype=freedom.dtype, device=freedom.device)
    self._dist_chi2 = dist.Chi2(torch.where(freedom > 0, freedom, low))


def _wishart(
    self: Any, sample_shape: torch.Size = _NO_SHAPE, max_try_correction: Any = None
) -> torch.Tensor:
    made: torch.Tensor = self._bartlett_sampling(torch.Size(sample_shape))
    return made


_SINE = sine_bivariate_von_mises.SineBivariateVonMises
_STAND_INS: list[tuple[Any, str, Any]] = [
    (dist.VonMises, "sample", _von_mises),
    (_SINE, "__init__", _sine_init),
    (_SINE, "expand", _sine_expand),
    (_SINE, "sample", _sine),
    (sine_skewed.SineSkewed, "__init__", _skewed_init),
    (projected_normal, "safe_normalize", _safe_normalize),
    (dist.Wishart, "__init__", _wishart_init),
    (dist.Wishart, "rsample", _wishart),
]


@contextlib.contextmanager
def unlooking() -> Iterator[None]:
    """Have the distributions in question draw without looking at what they draw."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _STAND_INS]
    for owner, name, value in _STAND_INS:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
