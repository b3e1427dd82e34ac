"""Poisson numbers by inversion: each is a function of its rate and of one uniform number.

Small rates: the probabilities are summed until they pass the uniform number. Large ones: a normal
number, and the inverse distribution function expanded in its powers; where that is so near to a whole
number that its error matters, the distribution function itself decides (M. B. Giles, ACM TOMS 42, 2016).
Uniform numbers in a tail, which are few, are worked on in float64 by their distance to the end.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from pyro_posterior.keyed.calls import Call
from pyro_posterior.keyed.fills import SIDED
from pyro_posterior.keyed.scratch import scratch
from pyro_posterior.keyed.uniforms import TAIL

#: Rates from here on are large: the expansion's error is below `_error`.
LARGE = 4.0

#: Rates whose expansion float32 does not hold, and those of which it is exact to 1e-8.
DOUBLE, HUGE = 4096.0, 1e8

#: Values worked on at a time, few enough for a cache.
AT_ONCE = 1 << 15

#: Steps of a sum between looks at which values are settled.
STEPS = 4


def poisson(call: Call) -> torch.Tensor:
    """Poisson numbers of the type of the rates.

    Raises
    ------
    RuntimeError
        torch's own, of a rate that is negative or NaN.
    """
    rates: torch.Tensor = call["self"]
    if not rates.is_floating_point() or not bool((rates >= 0).all()):
        torch.poisson(rates)
    dtype = torch.float64 if rates.dtype == torch.float64 else torch.float32
    made = call.fill_like(SIDED, rates, dtype)
    columns = math.prod(rates.shape[1:])
    if not columns or not len(made):
        return made.to(rates.dtype)
    x, whole = made.view(len(made), columns), rates.reshape(len(made), columns)
    step = max(1, AT_ONCE // columns) if x.device.type == "cpu" else len(x)
    tails = []
    for low in range(0, len(x), step):
        at = x[low : low + step]
        mine = scratch("rates", tuple(at.shape), dtype, x.device).copy_(whole[low : low + step])
        flat, given = at.view(-1), mine.view(-1)
        size = torch.abs(flat, out=scratch("size", tuple(flat.shape), dtype, x.device))
        tail = _where(size > 1)
        tails.append(
            (tail + low * columns, flat.index_select(0, tail), given.index_select(0, tail))
        )
        flat.index_fill_(0, tail, 0.0)
        _into_counts(flat, given)
    where, ends, given = (torch.cat(parts) for parts in zip(*tails, strict=True))
    x.view(-1).scatter_(0, where, _of_tails(ends.double(), given.double()).to(dtype))
    return made.to(rates.dtype)


def _into_counts(x: torch.Tensor, rates: torch.Tensor) -> None:
    """Uniform numbers as ``2u - 1`` into counts, in place."""
    below = rates < LARGE
    small = _where(below)
    if len(small) == len(x):
        _summed(x, rates)
    elif not len(small):
        _expanded(x, rates)
    else:
        for chosen, way in ((small, _summed), (_where(below.logical_not_()), _expanded)):
            part = x.index_select(0, chosen)
            way(part, rates.index_select(0, chosen))
            x.scatter_(0, chosen, part)


def _summed(x: torch.Tensor, rates: torch.Tensor) -> None:
    """Counts of small rates and uniform numbers as ``2u - 1``, in place."""
    u = torch.add(x, 1).mul_(0.5)
    power = rates.neg().exp_()  # the chance of the count, without its factorial
    reached, places, count = power.clone(), None, 0
    counts = torch.zeros(len(u), dtype=torch.uint8, device=u.device)
    above = torch.empty_like(counts, dtype=torch.bool)
    while True:
        for _ in range(STEPS):
            count += 1
            torch.gt(u, reached, out=above)
            counts.add_(above.view(torch.uint8))
            power.mul_(rates)
            reached.add_(power, alpha=1 / math.factorial(count))
        left = _where(u > reached)
        if 2 * len(left) > len(u):
            continue
        if places is None:
            x.copy_(counts)
        else:
            x.scatter_(0, places, counts.to(x.dtype))
        if not len(left):
            return
        places = left if places is None else places.index_select(0, left)
        u, rates, power, reached, counts = (
            v.index_select(0, left) for v in (u, rates, power, reached, counts)
        )
        above = above[: len(left)]


def _expanded(x: torch.Tensor, rates: torch.Tensor) -> None:
    """Counts of large rates and uniform numbers as ``2u - 1``, in place."""
    high = _where(rates >= DOUBLE) if x.dtype == torch.float32 else ()
    if len(high):
        own, mine = x[high].double(), rates[high].double()
        _expanded(own, mine)
    w = torch.erfinv(x).mul_(math.sqrt(2))
    squared, root = w * w, rates.rsqrt()
    about = (squared * (-1 / 72)).sub_(1 / 36).mul_(root).add_(rates.sqrt()).mul_(w)
    root.mul_(root)
    about.add_((squared * (1 / 270)).add_(7 / 810).mul_(squared).sub_(8 / 405).mul_(root))
    about.add_(squared, alpha=1 / 6).add_(1 / 3).add_(rates)
    error = (squared * 0.0045).add_(0.009).mul_(squared).add_(0.018).mul_(root)
    error.add_(rates, alpha=6e-7 if x.dtype == torch.float32 else 1e-15)
    near = about.round()
    unsure = _where(torch.sub(about, near, out=squared).abs_() < error)
    about.floor_()
    if len(unsure):
        n, rate, z = (v.index_select(0, unsure).double() for v in (near, rates, w))
        distance = torch.erfc(z.abs() * math.sqrt(0.5)) / 2  # ndtr is none of a small number
        n = torch.where(_passed(n - 1, rate, distance, z > 0), n - 1, n)
        n = torch.where(rate < HUGE, n, about.index_select(0, unsure))
        about.scatter_(0, unsure, n.to(x.dtype))
    x.copy_(about)
    if len(high):
        x[high] = own.to(x.dtype)


def _passed(
    count: torch.Tensor, rate: torch.Tensor, distance: torch.Tensor, upper: torch.Tensor
) -> torch.Tensor:
    """Whether the chance of at most so many is no less than a uniform number, far from which end."""
    shape = (count + 1).clamp_(min=1e-300)
    low = torch.special.gammaincc(shape, rate) >= distance
    return torch.where(upper, torch.special.gammainc(shape, rate) <= distance, low)


def _of_tails(x: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """Counts of numbers near an end: from about the right one up or down to it, by their chances."""
    if not len(x):
        return x
    distance, upper = x.abs().reciprocal_().mul_(TAIL), x > 0
    w = torch.special.ndtri(distance).neg_().copysign_(x)
    squared = w * w
    count = (rates + w * rates.sqrt() + squared / 6 + 1 / 3).floor_().clamp_(min=0)
    known = rates < HUGE
    left = known.nonzero().flatten()
    while len(left):  # up
        left = left[~_passed(count[left], rates[left], distance[left], upper[left])]
        count[left] += 1
    left = known.nonzero().flatten()
    while len(left):  # down
        left = left[count[left] > 0]
        left = left[_passed(count[left] - 1, rates[left], distance[left], upper[left])]
        count[left] -= 1
    return count


def _where(mask: torch.Tensor) -> torch.Tensor:
    if mask.device.type != "cpu":
        return mask.nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(mask.numpy()))  # several times faster than torch's
