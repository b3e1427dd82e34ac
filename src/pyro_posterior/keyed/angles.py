"""Angles by rejection, as random operations: torch's and pyro's own samplers look at what they drew.

A loop that Python runs until all is accepted cannot be recorded. As one operation it can: what is
drawn anew inside has numbers of its own for each value, so that a draw does not depend on which others
are made with it.
"""

from __future__ import annotations

import math

import torch

from pyro_posterior.keyed.calls import Call, broadcast
from pyro_posterior.keyed.fills import NORMAL, UNIFORM, Kind, at_points

_library = torch.library.Library("pyro_posterior", "DEF")
_library.define(
    "von_mises(Tensor loc, Tensor concentration) -> Tensor",
    tags=torch.Tag.nondeterministic_seeded,
)
_library.define(
    "sine_bivariate(Tensor phi, Tensor psi, Tensor correlation) -> Tensor",
    tags=torch.Tag.nondeterministic_seeded,
)

#: ``von_mises(loc, concentration)``: angles in [-pi, pi), of the shape of both.
von_mises_op = torch.ops.pyro_posterior.von_mises.default

#: ``sine_bivariate(phi concentration, psi concentration, correlation)``: ``(*shape, 2)`` angles
#: around 0.
sine_bivariate_op = torch.ops.pyro_posterior.sine_bivariate.default


def von_mises(call: Call) -> torch.Tensor:
    """D. J. Best and N. I. Fisher, Applied Statistics 28, 1979; in float64, as torch has it."""
    loc, concentration = broadcast(call["loc"], call["concentration"])
    made = _around_zero(call, concentration.double(), "")
    return wrapped(made.add_(loc)).to(loc.dtype)


def wrapped(angle: torch.Tensor) -> torch.Tensor:
    """The same angle from -pi up to pi."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


class _Numbers:
    """Uniform or normal numbers for each value, or anew for some of them."""

    def __init__(self, call: Call, shape: torch.Size, name: str) -> None:
        self._call, self._shape, self._name = call, shape, name
        self._columns = max(1, math.prod(shape[1:]))

    def all(self, kind: Kind, purpose: str, device: torch.device) -> torch.Tensor:
        """One for each value, flat."""
        shape, name = tuple(self._shape[1:]), f"{self._name}{purpose}0"
        return self._call.fill(kind, shape, torch.float64, device, name, False).view(-1)

    def some(self, kind: Kind, purpose: str, where: torch.Tensor, turn: int) -> torch.Tensor:
        """Another for some of the values."""
        call, name = self._call, f"{self._name}{purpose}{turn}"
        return at_points(kind, call.key, call.at, self._columns, where, torch.float64, name)


def _around_zero(call: Call, concentration: torch.Tensor, name: str) -> torch.Tensor:
    """Von Mises angles around 0 of float64 concentrations ``(draw, ...)``."""
    numbers = _Numbers(call, concentration.shape, name)
    kappa = concentration.clamp(min=1e-12).reshape(-1)
    tau = 1 + (1 + 4 * kappa**2).sqrt()
    rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
    r = torch.where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho**2) / (2 * rho))
    made = torch.full_like(kappa, math.nan)
    where, turn = torch.isfinite(r).nonzero().flatten(), 0
    while len(where):
        if turn == 0:
            u = [numbers.all(UNIFORM, name, kappa.device)[where] for name in _PURPOSES]
        else:
            u = [numbers.some(UNIFORM, name, where, turn) for name in _PURPOSES]
        z = torch.cos(math.pi * u[0])
        f = (1 + r[where] * z) / (r[where] + z)
        c = kappa[where] * (r[where] - f)
        right = (c * (2 - c) > u[1]) | ((c / u[1]).log() + 1 - c >= 0)
        kept = f.clamp(-1, 1).acos() * (u[2] - 0.5).sign()
        made[where[right]] = kept[right]
        where, turn = where[~right], turn + 1
    return made.view(concentration.shape)


_PURPOSES = ("angle", "accept", "side")


def sine_bivariate(call: Call) -> torch.Tensor:
    """J. T. Kent, A. M. Ganeiber and K. V. Mardia, J. Comput. Graph. Stat. 27, 2018.

    The first angle by rejection from an angular central Gaussian, the second given it.
    """
    phi, psi, correlation = broadcast(call["phi"], call["psi"], call["correlation"])
    dtype, shape, device = phi.dtype, phi.shape, phi.device
    numbers = _Numbers(call, shape, "phi")
    one, two, both = (x.double().reshape(-1) for x in (phi, psi, correlation))
    second = 0.5 * (one - both**2 / two)
    lowest = second.clamp(max=0)
    eigen = torch.stack([-lowest, second - lowest])
    b = _bound(eigen)
    scale = (1 + 2 * eigen / b).rsqrt()
    made = torch.full_like(one, math.nan)
    where, turn = torch.isfinite(scale.sum(0)).nonzero().flatten(), 0
    while len(where):
        if turn == 0:
            x = torch.stack([numbers.all(NORMAL, name, device)[where] for name in ("x", "y")])
            u = numbers.all(UNIFORM, "accept", device)[where]
        else:
            x = torch.stack([numbers.some(NORMAL, name, where, turn) for name in ("x", "y")])
            u = numbers.some(UNIFORM, "accept", where, turn)
        x = x * scale[:, where]
        x = x / x.norm(dim=0)
        wanted = one[where] * (x[0] - 1) + lowest[where] - _log_bessel(two[where])
        wanted += _log_bessel((two[where] ** 2 + (both[where] * x[1]) ** 2).sqrt())
        proposed = 1 - b[where] / 2 + (b[where] / 2 + (eigen[:, where] * x**2).sum(0)).log()
        right = u < (wanted + proposed).exp()
        made[where[right]] = torch.atan2(x[1], x[0])[right]
        where, turn = where[~right], turn + 1
    first = made.view(shape)
    pull = correlation.double() * first.sin()
    given = _around_zero(call, (psi.double() ** 2 + pull**2).sqrt(), "psi")
    other = wrapped(given + torch.atan(pull / psi.double()))
    return torch.stack([first, other], -1).to(dtype)


def _bound(eigen: torch.Tensor) -> torch.Tensor:
    """Where the proposal is widest: one step of Newton's method from 1, as pyro has it."""
    first = (1 / (1 + 2 * eigen) ** 2).sum(0)
    second = (-2 / (1 + 2 * eigen) ** 3).sum(0)
    return torch.where(eigen.norm(dim=0) != 0, 1 - first / second, torch.ones_like(first))


def _log_bessel(x: torch.Tensor) -> torch.Tensor:
    return torch.special.i0e(x).log() + x
