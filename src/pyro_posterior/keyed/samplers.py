"""Rules of operations whose numbers are not a function of one uniform number each."""

from __future__ import annotations

import numpy as np
import torch

from pyro_posterior.keyed.calls import Call, broadcast
from pyro_posterior.keyed.fills import EXPONENTIAL, UNIFORM
from pyro_posterior.keyed.streams import bit_generators, generators


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
