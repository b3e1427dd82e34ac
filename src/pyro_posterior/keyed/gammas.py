"""Gamma numbers, and points of the simplex made of them.

Marsaglia and Tsang, ACM TOMS 26, 2000; shapes below 1 by a number of shape + 1. Nearly all values are
accepted at once, so that a normal number that is spread over the draws gives gamma numbers that are.
The others are drawn again, each by numbers of its own.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pyro_posterior.keyed import hashing
from pyro_posterior.keyed.again import numbers_again
from pyro_posterior.keyed.calls import Call
from pyro_posterior.keyed.fills import EXPONENTIAL, NORMAL
from pyro_posterior.keyed.scratch import scratch
from pyro_posterior.keyed.uniforms import blocks

#: Values worked on at a time, few enough for a cache.
AT_ONCE = 1 << 15

#: Longest axis that is summed place by place.
SHORT = 16

#: So few values get several numbers at a time, since the calls cost more.
FEW = 1000


def standard_gamma(call: Call) -> torch.Tensor:
    """Gamma numbers of rate 1."""
    made, boost = _gamma(call, call["self"])
    if boost is not None:
        made = made.mul_(boost.neg_().exp_()).clamp_(min=torch.finfo(made.dtype).tiny)
    return made.to(call["self"].dtype)


def dirichlet(call: Call) -> torch.Tensor:
    """Points of the simplex: gamma numbers over their sum, in logarithms where they might vanish."""
    made, boost = _gamma(call, call["self"])
    if boost is not None:
        made = made.log_().sub_(boost)
        made = made.sub_(made.amax(-1, keepdim=True)).exp_()
    return made.div_(_total(made)).to(call["self"].dtype)


def _total(x: torch.Tensor) -> torch.Tensor:
    """Sum over the last axis; a short one is no axis that torch is fast along."""
    if x.shape[-1] > SHORT:
        return x.sum(-1, keepdim=True)
    total = x[..., :1].clone()
    for i in range(1, x.shape[-1]):
        total += x[..., i : i + 1]
    return total


def _gamma(call: Call, shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Numbers of ``shape``, or of shape + 1 where it is below 1 and what their logarithms lack.

    Of shape 1 they are exponential ones.
    """
    dtype = shape.dtype if shape.dtype == torch.float64 else torch.float32
    shape = shape.to(dtype)
    size = tuple(shape.shape[1:])
    own = shape[:1] if shape.shape[0] > 1 and shape.stride(0) == 0 else shape  # the same in all
    ones = own == 1
    plain = call.fill(EXPONENTIAL, size, dtype, shape.device, "one") if bool(ones.any()) else None
    if plain is not None and bool(ones.all()):
        return plain, None
    small = own < 1
    low = bool(small.any())
    x = call.fill_like(NORMAL, shape, dtype)
    columns = math.prod(size)
    if columns:
        _cube(call, x.view(len(x), columns), own.reshape(len(own), columns))
    if plain is not None:
        x = torch.where(ones, plain, x)
    if not low:
        return x, None
    boost = call.fill(EXPONENTIAL, size, dtype, shape.device, "boost")
    return x, torch.where(small, boost.div_(own), torch.zeros((), dtype=dtype))


def _cube(call: Call, x: torch.Tensor, own: torch.Tensor) -> None:
    """Normal numbers ``x`` into gamma numbers of shapes ``own``, in place; ``(draw, column)``.

    A uniform number accepts x, for certain where it is below ``1 - k x**4``: k is a bound, for all
    d, of what is wanted at every x. Where ``1 + c x`` is not positive that accepts nothing.
    """
    count, columns = x.shape
    step = max(1, AT_ONCE // max(1, columns)) if x.device.type == "cpu" else max(1, count)
    words = call.key.words(call.at, "accept")
    (names,) = blocks(words, columns, 1, x.dtype, x.device, columns)
    numbers = torch.arange(call.count, dtype=torch.int32, device=x.device)[:, None]
    numbers += call.at.draws.start
    shared = len(own) == 1
    d, c, steep = _constants(own) if shared else (own, own, own)
    left: list[list[np.ndarray]] = []
    for low in range(0, count, step):
        rows = slice(low, low + step)
        at = x[rows]
        if not shared:
            d, c, steep = _constants(own[rows])
        shape = tuple(at.shape)
        bits = hashing.bits(
            names.bits, numbers[rows], scratch("bits", shape, torch.int32, x.device)
        )
        bound = scratch("bound", shape, x.dtype, x.device)
        torch.mul(at, at, out=bound).mul_(steep).square_().sub_(2.0**31)
        other = scratch("part", shape, x.dtype, x.device).copy_(bits)
        unsure = _where(bound >= other)
        places = unsure % columns if shared and len(at) > 1 else unsure
        few = [_taken(x, i) for x, i in ((at, unsure), (bits, unsure), (d, places))]
        left.append([unsure + low * columns, *few])
        torch.mul(at, c, out=bound).add_(1)
        torch.mul(bound, bound, out=at).mul_(bound).mul_(d)
    where, *few = (np.concatenate(parts) for parts in zip(*left, strict=True))
    few[1] = (2.0**31 - 0.5 - few[1]) * 2.0**-32
    values = torch.from_numpy(_settled(call, where, columns, *few)).to(x.dtype)
    x.view(-1)[torch.from_numpy(where).to(x.device)] = values.to(x.device)


def _constants(shape: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The d and c of `_cube`, and the root of its k, in units of 2**-32 of a chance.

    k is at most ``c**2 (1.02 + 3.4 c) / 12``, found by looking at all d; its root is below a line.
    """
    d = torch.sub(shape, 1 / 3)
    small = shape < 1
    if bool(small.any()):
        d.add_(small)
    c = (d * 9).rsqrt_()
    unit = 2.0**16 / 12**0.5
    return d, c, (c * (1.305 * unit)).add_(1.044 * unit).mul_(c)


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
