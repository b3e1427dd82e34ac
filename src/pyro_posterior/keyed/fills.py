"""Standard numbers of any shape by inversion of uniform ones: normal, uniform, exponential, Cauchy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from pyro_posterior.keyed import streams
from pyro_posterior.keyed.keys import Key, Piece, Where
from pyro_posterior.keyed.uniforms import TAIL, blocks, together, uniforms

#: Values made at a time: few enough for a cache, so many that the calls do not show.
BLOCK = 1 << 18


@dataclass(frozen=True)
class Kind:
    """A distribution without parameters, as an inverse distribution function."""

    inverse: Callable[[torch.Tensor], torch.Tensor]  # of 2u - 1, in place
    ends: Callable[[np.ndarray, np.ndarray], np.ndarray]  # of distances to 0 or 1; whether 1
    native: str | None  # torch's own, for independent draws on a GPU
    scale: float = 1.0  # to multiply the inverse with


def _signed(value: np.ndarray, upper: np.ndarray) -> np.ndarray:
    return np.where(upper, value, -value)


def _normal_end(distance: np.ndarray) -> np.ndarray:
    return -torch.special.ndtri(torch.from_numpy(distance)).numpy()


NORMAL = Kind(
    torch.Tensor.erfinv_,
    lambda distance, upper: _signed(_normal_end(distance), upper),
    "normal_",
    math.sqrt(2),
)

#: In (0, 1), ends left out.
UNIFORM = Kind(
    lambda x: x.mul_(0.5).add_(0.5),
    lambda distance, upper: np.where(upper, 1 - distance, distance),
    "uniform_",
)

#: Of rate 1; a large u is a small number, as in ``-log(u)``.
EXPONENTIAL = Kind(
    lambda x: x.mul_(0.5).add_(0.5).log_().neg_(),
    lambda distance, upper: np.where(upper, -np.log1p(-distance), -np.log(distance)),
    "exponential_",
)

#: ``2u - 1`` and, in a tail, beyond 1: `TAIL` over the distance to the end, with the sign of the side.
SIDED = Kind(lambda x: x, lambda distance, upper: _signed(TAIL / distance, upper), None)

CAUCHY = Kind(
    lambda x: x.mul_(math.pi / 2).tan_(),
    lambda distance, upper: _signed(1 / np.tan(math.pi * distance), upper),
    "cauchy_",
)


def fill(
    kind: Kind,
    key: Key,
    at: Where,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    purpose: str = "",
    stratified: bool = True,
    target: torch.Tensor | None = None,
) -> torch.Tensor:
    """``(len(at.draws), *shape)`` numbers; ``shape`` is that of one draw.

    Parameters
    ----------
    purpose
        Keeps the numbers apart that one operation takes for several ends.
    stratified
        Spread them over the draws where there are hypercubes.
    target
        Memory for them, contiguous, of that shape, dtype and device; None: new memory.
    """
    if not stratified:
        at = replace(at, cubes=())
    columns = math.prod(shape)
    whole = (len(at.draws), columns)
    out = torch.empty(whole, dtype=dtype, device=device) if target is None else target.view(whole)
    for piece in at.pieces() if columns else ():
        name = f"{purpose}{piece.cube}"
        if device.type != "cpu" and piece.length == 1 and kind.native is not None:
            streams.generated(out[piece.rows], kind.native, key, at, piece, name)
        else:
            _fill_piece(kind, key.words(at, name), piece, out[piece.rows])
    return out.view(len(at.draws), *shape)


def _fill_piece(kind: Kind, words: tuple[int, ...], piece: Piece, out: torch.Tensor) -> None:
    count, columns = out.shape
    step = max(256, BLOCK // count) if out.device.type == "cpu" else columns
    draws = torch.arange(piece.first, piece.first + count, dtype=torch.int32, device=out.device)
    work = _work(out.dtype)
    tails, low = [], 0
    draws = draws[:, None]
    for block in blocks(words, columns, piece.length, work, out.device, step):
        x, tail = uniforms(block, draws, work)
        part = out[:, low : low + x.shape[1]]
        if kind.scale == 1.0:
            part.copy_(kind.inverse(x))
        else:
            torch.mul(kind.inverse(x), kind.scale, out=part)
        if kind is UNIFORM and out.dtype == torch.bfloat16:  # which rounds up what is no tail
            part.clamp_(max=1 - torch.finfo(out.dtype).eps / 2)
        low += x.shape[1]
        tails.append(tail)
    tail = together(tails)
    ends = kind.ends(tail.distance(words, piece.length), tail.upper)
    rows, where = torch.from_numpy(tail.rows), torch.from_numpy(tail.columns)
    out[rows, where] = _ends(kind, ends, out)


def at_points(
    kind: Kind,
    key: Key,
    at: Where,
    columns: int,
    flat: torch.Tensor,
    dtype: torch.dtype,
    purpose: str,
) -> torch.Tensor:
    """Independent numbers at some of the values of ``(len(at.draws), columns)``.

    ``flat`` are their indices. A value's number does not depend on which others are asked for.
    """
    (whole,) = blocks(key.words(at, purpose), columns, 1, _work(dtype), flat.device, columns)
    row = torch.div(flat, columns, rounding_mode="floor")
    column = flat - row * columns
    there = replace(whole, bits=tuple(word[column] for word in whole.bits), numbers=column)
    x, tail = uniforms(there, (row + at.draws.start).to(torch.int32), _work(dtype))
    out = (kind.inverse(x) * kind.scale).to(dtype)
    ends = kind.ends(tail.distance(whole.words, 1), tail.upper)
    out[torch.from_numpy(tail.rows)] = _ends(kind, ends, out)
    return out


def _ends(kind: Kind, ends: np.ndarray, out: torch.Tensor) -> torch.Tensor:
    if kind is UNIFORM:  # 1 is not among them, whatever the rounding
        ends = np.minimum(ends, 1 - torch.finfo(out.dtype).eps / 2)
    return torch.from_numpy(ends).to(out.dtype).to(out.device)


def _work(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
