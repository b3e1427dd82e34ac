"""Rules of operations that fill a shape: a standard number for each value, then a function of it."""

from __future__ import annotations

import math
from typing import Any

import torch

from pyro_posterior.keyed.calls import Call, aligned, broadcast
from pyro_posterior.keyed.fills import CAUCHY, EXPONENTIAL, NORMAL, UNIFORM, Kind


def normal_(call: Call) -> torch.Tensor:
    """``N(mean, std)`` in place."""
    return call.put(_scaled(call.fill_in_place(NORMAL), call["mean"], call["std"]))


def _scaled(made: torch.Tensor, mean: Any, std: Any) -> torch.Tensor:
    if isinstance(std, torch.Tensor) or std != 1:
        made.mul_(std)
    if isinstance(mean, torch.Tensor) or mean != 0:
        made.add_(mean)
    return made


def normal(call: Call) -> torch.Tensor:
    """``torch.normal``, of tensors or numbers."""
    names = call.arguments
    mean, std = names.get("mean", names.get("self")), names["std"]
    given = [x for x in (mean, std) if isinstance(x, torch.Tensor)]
    if not given:
        made = _made(call, NORMAL, tuple(names["size"]))
        return _scaled(made, mean, std)
    whole = broadcast(*given)[0]
    made = call.fill_like(NORMAL, whole, given[0].dtype)
    return _scaled(made, aligned(mean, made.dim()), aligned(std, made.dim()))


def normal_functional(call: Call) -> torch.Tensor:
    """``N(mean, std)`` of the shape of a tensor that is left as it is."""
    made = call.fill_like(NORMAL, call["self"], call["self"].dtype)
    return _scaled(made, call["mean"], call["std"])


def uniform_(call: Call) -> torch.Tensor:
    """Uniform numbers from ``from`` to ``to`` in place."""
    low, high = call["from"], call["to"]
    made = call.fill_in_place(UNIFORM)
    if (low, high) != (0, 1):
        made.mul_(high - low).add_(low)
        if high > low:  # the end is left out, whatever the rounding
            end = torch.tensor(high, dtype=made.dtype)
            made.clamp_(max=torch.nextafter(end, torch.full_like(end, low)).item())
    return call.put(made)


def exponential_(call: Call) -> torch.Tensor:
    """Exponential numbers of rate ``lambd`` in place."""
    return call.put(call.fill_in_place(EXPONENTIAL).div_(call["lambd"]))


def cauchy_(call: Call) -> torch.Tensor:
    """Cauchy numbers in place."""
    return call.put(_scaled(call.fill_in_place(CAUCHY), call["median"], call["sigma"]))


def log_normal_(call: Call) -> torch.Tensor:
    """Log-normal numbers in place."""
    return call.put(_scaled(call.fill_in_place(NORMAL), call["mean"], call["std"]).exp_())


def geometric_(call: Call) -> torch.Tensor:
    """Number of trials up to the first success, in place."""
    target: torch.Tensor = call["self"]
    made = call.fill_like(EXPONENTIAL, target, torch.float64)
    rate = -math.log1p(-call["p"]) if call["p"] < 1 else math.inf
    return target.copy_(made.div_(rate).ceil_().clamp_(min=1))


def _made(call: Call, kind: Kind, shape: tuple[int, ...]) -> torch.Tensor:
    dtype = call["dtype"] or torch.get_default_dtype()
    return call.fill(kind, shape, dtype, torch.device(call["device"] or "cpu"))


def randn(call: Call) -> torch.Tensor:
    """Standard normal numbers of a shape."""
    return _made(call, NORMAL, tuple(call["size"]))


def rand(call: Call) -> torch.Tensor:
    """Uniform numbers of a shape."""
    return _made(call, UNIFORM, tuple(call["size"]))


def randn_like(call: Call) -> torch.Tensor:
    """Standard normal numbers of the shape of a tensor."""
    return call.fill_like(NORMAL, call["self"], call["dtype"] or call["self"].dtype)


def rand_like(call: Call) -> torch.Tensor:
    """Uniform numbers of the shape of a tensor."""
    return call.fill_like(UNIFORM, call["self"], call["dtype"] or call["self"].dtype)


# ------------------------------------------------------------------------------------ whole numbers


def _whole(
    call: Call, shape: tuple[int, ...], low: int, high: int, device: torch.device
) -> torch.Tensor:
    """Whole numbers from ``low`` to below ``high``, each as likely to 2**-53 of the range."""
    made = call.fill(UNIFORM, shape, torch.float64, device)
    return made.mul_(high - low).floor_().long().add_(low).clamp_(max=high - 1)


def randint(call: Call) -> torch.Tensor:
    """Whole numbers of a shape."""
    device = torch.device(call["device"] or "cpu")
    low = call.arguments.get("low", 0)
    made = _whole(call, tuple(call["size"]), low, call["high"], device)
    return made.to(call["dtype"] or torch.long)


def randint_like(call: Call) -> torch.Tensor:
    """Whole numbers of the shape of a tensor."""
    like: torch.Tensor = call["self"]
    low, high = call.arguments.get("low", 0), call["high"]
    if isinstance(high, torch.Tensor):
        made = call.fill(UNIFORM, tuple(like.shape[1:]), torch.float64, like.device)
        found = made.mul_(aligned(high, like.dim())).floor_()
    else:
        found = _whole(call, tuple(like.shape[1:]), low, high, like.device)
    return found.to(call["dtype"] or like.dtype)


def random_(call: Call) -> torch.Tensor:
    """Whole numbers in place, over all that the type can hold where no end is given."""
    target: torch.Tensor = call["self"]
    low, high = call.arguments.get("from", 0), call.arguments.get("to")
    if high is None:
        high = _largest(target.dtype) + 1
    return target.copy_(_whole(call, tuple(target.shape[1:]), low, high, target.device))


def _largest(dtype: torch.dtype) -> int:
    if dtype == torch.bool:
        return 1
    if dtype.is_floating_point:  # the largest whole number up to which all are held
        return round(2 / torch.finfo(dtype).eps)
    return torch.iinfo(dtype).max


# ------------------------------------------------------------------------------------ by comparison


def _hits(call: Call, probs: Any, like: torch.Tensor) -> torch.Tensor:
    dtype = probs.dtype if isinstance(probs, torch.Tensor) else like.dtype
    wide = dtype if dtype == torch.float64 else torch.float32
    return call.fill_like(UNIFORM, like, wide) < aligned(probs, like.dim())


def bernoulli(call: Call) -> torch.Tensor:
    """0 or 1, with the probabilities of a tensor or all with one."""
    like: torch.Tensor = call["self"]
    return _hits(call, call.arguments.get("p", like), like).to(like.dtype)


def bernoulli_(call: Call) -> torch.Tensor:
    """0 or 1 in place."""
    return call["self"].copy_(_hits(call, call["p"], call["self"]))


def native_dropout(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """Values left out with probability p and the others scaled up; which were kept."""
    given: torch.Tensor = call["input"]
    kept = _hits(call, 1 - call["p"], given)
    scale = 0.0 if call["p"] == 1 else 1 / (1 - call["p"])
    return given * kept * scale, kept


def dropout(call: Call) -> torch.Tensor:
    """As `native_dropout`, the values alone."""
    return native_dropout(call)[0]


def fused_dropout(call: Call) -> tuple[torch.Tensor, torch.Tensor]:
    """A GPU's dropout, whose p is the probability to keep."""
    given: torch.Tensor = call["self"]
    kept = _hits(call, call["p"], given)
    return given * kept / call["p"], kept.to(torch.uint8)


def rrelu(call: Call) -> torch.Tensor:
    """Leaky rectifier with slopes drawn for negative values, noted in ``noise``."""
    given: torch.Tensor = call["self"]
    low, high = call["lower"], call["upper"]
    slopes = call.fill_like(UNIFORM, given, given.dtype).mul_(high - low).add_(low)
    slopes = torch.where(given > 0, torch.ones_like(slopes), slopes)
    call["noise"].copy_(slopes)
    return given * slopes


def rrelu_(call: Call) -> torch.Tensor:
    """As `rrelu`, in place."""
    return call["self"].copy_(rrelu(call))
