"""Gamma numbers, and points of the simplex made of them.

Marsaglia and Tsang, ACM TOMS 26, 2000; shapes below 1 by a number of shape + 1. Nearly all values are
accepted at once, so that a normal number that is spread over the draws gives gamma numbers that are.
The others are drawn again, each by numbers of its own.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pyro_posterior.keyed.again import numbers_again
from pyro_posterior.keyed.calls import Call
from pyro_posterior.keyed.fills import EXPONENTIAL, NORMAL, UNIFORM
from pyro_posterior.keyed.scratch import scratch

#: Values worked on at a time, few enough for a cache.
AT_ONCE = 1 << 15

#: So few values get several numbers at a time, since the calls cost more.
FEW = 1000


def standard_gamma(call: Call) -> torch.Tensor:
    """Gamma numbers of rate 1."""
    made, boost = _gamma(call, call["self"])
    if boost is not None:
        made = made.mul_(boost.neg_().exp_()).clamp_(min=torch.finfo(made.dtype).tiny)
    return made.to(call["self"].dtype)


def dirichlet(call: Call) -> torch.Tensor:
    """Points of the simplex: gamma numbers over their sum, in logarithms, which cannot vanish."""
    made, boost = _gamma(call, call["self"])
    made = made.log_()
    return torch.softmax(made if boost is None else made.sub_(boost), -1).to(call["self"].dtype)


def _gamma(call: Call, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Numbers of ``shape``, or of shape + 1 where it is below 1 and what their logarithms lack."""
    dtype = shape.dtype if shape.dtype == torch.float64 else torch.float32
    shape = shape.to(dtype)
    own = shape[:1] if shape.shape[0] > 1 and shape.stride(0) == 0 else shape  # the same in all
    small = own < 1
    low = bool(small.any())
    d = (torch.where(small, own + 1, own) if low else own) - 1 / 3
    c = (9 * d).rsqrt_()
    x = call.fill_like(NORMAL, shape, dtype)
    u = call.fill(UNIFORM, tuple(shape.shape[1:]), dtype, shape.device, "accept", False)
    columns = math.prod(shape.shape[1:])
    if columns:
        _cube(call, *(part.reshape(len(part), columns) for part in (x, u, d, c)))
    if not low:
        return x, None
    boost = call.fill(EXPONENTIAL, tuple(shape.shape[1:]), dtype, shape.device, "boost")
    return x, torch.where(small, boost.div_(own), torch.zeros((), dtype=dtype))


def _cube(call: Call, x: torch.Tensor, u: torch.Tensor, d: torch.Tensor, c: torch.Tensor) -> None:
    """Normal numbers ``x`` into gamma numbers, in place; all are ``(draw, column)``.

    The quick test leaves few. It also leaves those whose ``1 + c x`` is not positive: d is 2/3 at
    least, so that x lies beyond the place where the test accepts nothing.
    """
    count, columns = x.shape
    step = max(1, AT_ONCE // max(1, columns)) if x.device.type == "cpu" else max(1, count)
    one = torch.ones((), dtype=x.dtype, device=x.device)
    left: list[list[np.ndarray]] = []
    for low in range(0, count, step):
        rows = slice(low, low + step)
        at, accept = x[rows], u[rows]
        mine = slice(None) if len(d) == 1 else rows
        bound = scratch("bound", tuple(at.shape), x.dtype, x.device)
        torch.mul(at, at, out=bound)
        bound.mul_(bound)
        torch.add(one, bound, alpha=-0.0331, out=bound)
        unsure = _where(accept >= bound)
        places = unsure % columns if len(d) == 1 and len(at) > 1 else unsure
        few = [_taken(x, i) for x, i in ((at, unsure), (accept, unsure), (d[mine], places))]
        left.append([unsure + low * columns, *few])
        at.mul_(c[mine]).add_(1)
        torch.mul(at, at, out=bound)
        at.mul_(bound).mul_(d[mine])
    where, *few = (np.concatenate(parts) for parts in zip(*left, strict=True))
    values = torch.from_numpy(_settled(call, where, columns, *few)).to(x.dtype)
    x.view(-1)[torch.from_numpy(where).to(x.device)] = values.to(x.device)


def _where(mask: torch.Tensor) -> np.ndarray:
    if mask.device.type != "cpu":
        return mask.flatten().nonzero().flatten().cpu().numpy()
    return np.flatnonzero(mask.numpy())  # several times faster than torch's


def _taken(x: torch.Tensor, where: np.ndarray) -> np.ndarray:
    if x.device.type != "cpu":
        return x.reshape(-1)[torch.from_numpy(where).to(x.device)].double().cpu().numpy()
    return x.numpy().reshape(-1)[where].astype(np.float64)


def _settled(
    call: Call, places: np.ndarray, columns: int, x: np.ndarray, u: np.ndarray, d: np.ndarray
) -> np.ndarray:
    """Gamma numbers of a few values: by the whole test, then drawn anew until they pass it."""
    made = np.full(len(x), math.nan)
    left, turn = np.flatnonzero(d == d), 0
    x, u, d, places = x[None, left], u[None, left], d[left], places[left]
    with np.errstate(all="ignore"):
        while len(left):
            v = 1 + x / np.sqrt(9 * d)
            v *= v * v
            right = np.log(u) < 0.5 * (x * x) + d * (
                1 - v + np.log(v)
            )  # no, where v is not above 0
            first = right.argmax(0)
            found = right[first, np.arange(len(left))]
            made[left] = np.where(found, v[first, np.arange(len(left))] * d, math.nan)
            turns = np.arange(turn, turn + (4 if len(left) < FEW else 1)) + 1
            left, places, d = left[~found], places[~found], d[~found]
            if len(left):
                x, u = numbers_again(call.key, call.at, columns, places, turns)
                turn += len(turns)
    return made
