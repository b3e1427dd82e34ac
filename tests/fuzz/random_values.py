"""Random expressions: tensors made from other tensors in the ways that models make them.

Every value broadcasts to (rows, columns): its shape is one of (), (columns,), (rows, 1) and
(rows, columns). ``grow(values, chance)`` makes one more from those at hand.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch.nn import functional

Tensors = list[torch.Tensor]


def _last(x: torch.Tensor) -> torch.Tensor:
    """With at least one axis."""
    return x.reshape(1) if x.dim() == 0 else x


UNARY: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda x: x.tanh().exp(),
    torch.sigmoid,
    functional.softplus,
    lambda x: x.abs().log1p(),
    lambda x: -x,
    lambda x: x.clamp(-3, 3).square(),
    lambda x: (x.abs() + 1).sqrt(),
    lambda x: _last(x).cumsum(-1),
    lambda x: _last(x).sort(-1).values,
    lambda x: _last(x).softmax(-1),
    lambda x: _last(x).flip(-1),
    lambda x: x.clamp(-1, 1),
    torch.relu,
    lambda x: x * 1.0,
    lambda x: x + 0,
    lambda x: x.clone(),
    lambda x: x.detach(),
    lambda x: x.reshape(-1).reshape(x.shape),
    lambda x: x.unsqueeze(0).squeeze(0),
    lambda x: x.T.T if x.dim() == 2 else x,
    lambda x: x.T.contiguous().T if x.dim() == 2 else x,
    lambda x: torch.stack([x, 2 * x]).mean(0),
    lambda x: torch.cat([_last(x), _last(x)], -1)[..., : _last(x).shape[-1]],
    lambda x: torch.cat(_last(x).split(1, -1), -1),
    lambda x: torch.sum(torch.stack(torch.unbind(_last(x), -1), -1) * 0.5, -1, keepdim=True),
    lambda x: functional.layer_norm(_last(x), _last(x).shape[-1:]),
    lambda x: torch.logsumexp(_last(x), -1, keepdim=True),
    lambda x: _last(x).max(-1, keepdim=True).values,
    lambda x: _last(x).mean(-1, keepdim=True),
    lambda x: torch.where(x > 0, x, 0.1 * x),
    lambda x: x.masked_fill(x > 1, 0.5),
    lambda x: torch.nan_to_num(x / (x - x)),
    lambda x: x.double().mul(1.5).float(),
    lambda x: torch.zeros_like(x).copy_(x),
    lambda x: torch.full_like(x, 2.0) * x,
    lambda x: torch.special.expit(x).round(decimals=2),
]

BINARY: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [
    torch.add,
    torch.sub,
    torch.mul,
    lambda a, b: a / (b.abs() + 1),
    torch.maximum,
    torch.minimum,
    torch.atan2,
    lambda a, b: torch.where(a > b, a, b * 0.5),
    lambda a, b: torch.lerp(*torch.broadcast_tensors(a, b), 0.3),
    lambda a, b: torch.addcmul(a, a, b, value=0.2),
    lambda a, b: a * 0.5 + b.sigmoid(),
    lambda a, b: torch.hypot(a, b),
    lambda a, b: a.expand(torch.broadcast_shapes(a.shape, b.shape)) + b,
]


def contract(x: torch.Tensor, columns: int) -> torch.Tensor:
    """Sums of products with a matrix, by three ways of writing them."""
    if x.shape[-1:] != (columns,):
        return x
    matrix = torch.linspace(-1, 1, columns * columns).reshape(columns, columns)
    ways = (
        lambda: x @ matrix,
        lambda: (x[..., None] * matrix).sum(-2),
        lambda: torch.einsum("...i,ij->...j", x, matrix),
        lambda: functional.linear(x, matrix),
    )
    return ways[columns % 4]()


def write(x: torch.Tensor, other: torch.Tensor, how: int) -> torch.Tensor:
    """Writes to a temporary of one's own."""
    own = _last(x).clone()
    if how == 0:
        own.mul_(1.5).add_(0.25)
    elif how == 1:
        own[..., 0] = 0.5
    elif how == 2:
        own.clamp_(max=0.7)
    elif how == 3:
        own += other.mean() if other.dim() == 0 else 0.5
    elif how == 4:
        view = own[..., :1]
        view.add_(1.0)
        own = own * 2 + view
    elif how == 5:
        own[own > 1.0] = 0.0
    elif how == 6:
        same = own * 1.0
        same.neg_()
        own = own + 0.5 * same
    elif how == 7:
        out = torch.empty_like(own)
        torch.mul(own, 3.0, out=out)
        own = out
    return own


def pick(x: torch.Tensor, how: int) -> torch.Tensor:
    """Rows or columns by constant indices and masks, back to a shape that broadcasts."""
    x = _last(x)
    width = x.shape[-1]
    if how == 0:
        return x[..., torch.arange(width).flip(0)]
    if how == 1:
        return x[..., torch.arange(width) % 2 == 0].sum(-1, keepdim=True)
    if how == 2:
        return x.index_select(-1, torch.zeros(width, dtype=torch.long))
    if how == 3:
        return x.gather(-1, torch.zeros(x.shape, dtype=torch.long))
    if how == 4:
        return torch.take_along_dim(x, x.argsort(-1), -1)
    return torch.zeros_like(x).scatter_add(-1, torch.zeros(x.shape, dtype=torch.long), x)


def grow(values: Tensors, columns: int, chance: random.Random) -> torch.Tensor:
    """One more value, finite and of moderate size where its sources are."""
    x, other = chance.choice(values), chance.choice(values)
    kind = chance.random()
    if kind < 0.45:
        made = chance.choice(UNARY)(x)
    elif kind < 0.75:
        made = chance.choice(BINARY)(x, other)
    elif kind < 0.83:
        made = contract(x, columns)
    elif kind < 0.93:
        made = write(x, other, chance.randrange(8))
    else:
        made = pick(x, chance.randrange(6))
    return made.clamp(-50, 50)
