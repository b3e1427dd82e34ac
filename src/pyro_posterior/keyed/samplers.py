"""Rules of operations whose numbers are not a function of one uniform number each."""

from __future__ import annotations

import numpy as np
import torch

from pyro_posterior.keyed.calls import Call, broadcast
from pyro_posterior.keyed.fills import EXPONENTIAL, NORMAL, UNIFORM, at_points
from pyro_posterior.keyed.streams import bit_generators, generators


def standard_gamma(call: Call) -> torch.Tensor:
    """Gamma numbers of rate 1."""
    shape: torch.Tensor = call["self"]
    made = _log_or_plain_gamma(call, shape, log=False)
    return made.clamp_(min=torch.finfo(made.dtype).tiny)


def dirichlet(call: Call) -> torch.Tensor:
    """Points of the simplex: gamma numbers over their sum, in logarithms, which cannot vanish."""
    made = _log_or_plain_gamma(call, call["self"], log=True)
    return torch.softmax(made, -1)


def _log_or_plain_gamma(call: Call, shape: torch.Tensor, log: bool) -> torch.Tensor:
    """Marsaglia and Tsang, ACM TOMS 26, 2000; shapes below 1 by a number of shape + 1.

    Nearly all values are accepted at once, so that a normal number that is spread over the draws
    gives gamma numbers that are. The others are drawn again, each by numbers of its own.
    """
    dtype = shape.dtype if shape.dtype == torch.float64 else torch.float32
    shape = shape.to(dtype)
    small = shape < 1
    d = torch.where(small, shape + 1, shape) - 1 / 3
    c = (9 * d).rsqrt_()
    x = call.fill_like(NORMAL, shape, dtype)
    u = call.fill(UNIFORM, tuple(shape.shape[1:]), dtype, shape.device, "accept", False)
    v = _cubed(x, c)
    wrong = _rejected(x, v, d, u).view(-1).nonzero().flatten()
    columns = max(1, v[0].numel())
    d_flat, c_flat, turn = d.reshape(-1), c.reshape(-1), 0
    while len(wrong):
        turn += 1
        again = at_points(NORMAL, call.key, call.at, columns, wrong, dtype, f"again{turn}")
        u = at_points(UNIFORM, call.key, call.at, columns, wrong, dtype, f"accept{turn}")
        values = _cubed(again, c_flat[wrong])
        v.view(-1)[wrong] = values
        wrong = wrong[_rejected(again, values, d_flat[wrong], u)]
    boost = None
    if bool(small.any()):
        boost = call.fill(EXPONENTIAL, tuple(shape.shape[1:]), dtype, shape.device, "boost")
        boost = torch.where(small, boost / shape, torch.zeros_like(boost))
    if log:
        made = v.log_().add_(d.log())
        return (made if boost is None else made.sub_(boost)).to(call["self"].dtype)
    made = v.mul_(d)
    return (made if boost is None else made.mul_(boost.neg_().exp_())).to(call["self"].dtype)


def _cubed(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    v = (x * c).add_(1)
    return v * v * v


def _rejected(x: torch.Tensor, v: torch.Tensor, d: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Which numbers to draw again: the quick test first, logarithms for the few it leaves."""
    square = x * x
    rejected = u >= 1 - 0.0331 * (square * square)
    rejected |= v <= 0
    unsure = rejected.view(-1).nonzero().flatten()
    x, v, d, u = (part.reshape(-1)[unsure] for part in (square, v, d.expand_as(v), u))
    right = (v > 0) & (u.log() < 0.5 * x + d * (1 - v + v.clamp(min=1e-30).log()))
    rejected.view(-1)[unsure] = ~right
    return rejected


def poisson(call: Call) -> torch.Tensor:
    """Poisson numbers, each draw by a generator of its own."""
    rates: torch.Tensor = call["self"]
    drawn = generators(call.key, call.at, rates.device)
    return torch.stack(
        [torch.poisson(rate, generator=one) for rate, one in zip(rates, drawn, strict=True)]
    )


def binomial(call: Call) -> torch.Tensor:
    """Binomial numbers, each draw by a generator of its own; NumPy's, the fastest, on a CPU."""
    counts, probs = broadcast(call["count"], call["prob"])
    if counts.device.type != "cpu":
        drawn = generators(call.key, call.at, counts.device)
        rows = zip(counts, probs, drawn, strict=True)
        return torch.stack([torch.binomial(n, p, generator=one) for n, p, one in rows])
    ns = counts.to(torch.int64).numpy()
    ps = probs.to(torch.float64).numpy()
    bad = ~((ps >= 0) & (ps <= 1))  # NaN among them, which NumPy refuses
    made = np.empty(ns.shape)
    each = zip(ns, np.where(bad, 0.0, ps), bit_generators(call.key, call.at), strict=True)
    for row, (n, p, generator) in enumerate(each):
        made[row] = generator.binomial(n, p)
    made[bad] = np.nan
    return torch.from_numpy(made).to(counts.dtype)


def multinomial(call: Call) -> torch.Tensor:
    """Numbers of categories: by inversion, or, without replacement, the first of a race."""
    probs, count = call["self"], call["num_samples"]
    lead = tuple(probs.shape[1:-1])
    if not call["replacement"] and count > 1:
        times = call.fill(EXPONENTIAL, (*lead, probs.shape[-1]), torch.float64, probs.device)
        return (probs.double() / times).topk(count, -1).indices
    same = probs.shape[0] > 1 and probs.stride(0) == 0  # the same for all draws
    reached = (probs[:1] if same else probs).double().cumsum(-1)
    total = reached[..., -1:]
    u = call.fill(UNIFORM, (*lead, count), torch.float64, probs.device)
    wanted = torch.minimum(u.mul_(total), torch.nextafter(total, torch.zeros_like(total)))
    reached = reached.expand(call.count, *reached.shape[1:])
    return torch.searchsorted(reached.contiguous(), wanted.contiguous(), right=True)


def randperm(call: Call) -> torch.Tensor:
    """A permutation for each draw: the order of uniform numbers."""
    device = torch.device(call["device"] or "cpu")
    keys = call.fill(UNIFORM, (call["n"],), torch.float64, device, stratified=False)
    return keys.argsort(-1).to(call["dtype"] or torch.long)
