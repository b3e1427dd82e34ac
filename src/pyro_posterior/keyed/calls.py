"""One call of a random operation: its arguments by name, and numbers for it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch

from pyro_posterior.keyed.fills import Kind, fill
from pyro_posterior.keyed.keys import Key, Where


@functools.cache
def _parameters(func: Any) -> tuple[tuple[str, Any], ...]:
    found = {
        argument.name: argument.default_value if argument.has_default_value() else None
        for argument in func._schema.arguments
    }
    if "dtype" in found:  # a number of torch's own
        found["dtype"] = None
    return tuple(found.items())


def by_name(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of an ATen operation, those left out with their defaults."""
    found = dict(_parameters(func))
    for (name, _), value in zip(_parameters(func), args, strict=False):
        found[name] = value
    return found | kwargs


@dataclass(frozen=True)
class Call:
    """A random operation about to run for some draws.

    Tensors among the arguments have the draw axis in front, sizes do not.
    """

    func: Any
    key: Key
    at: Where
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def count(self) -> int:
        """Number of draws."""
        return len(self.at.draws)

    def fill(
        self,
        kind: Kind,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        purpose: str = "",
        stratified: bool = True,
    ) -> torch.Tensor:
        """``(draw, *shape)`` numbers of a kind, under this operation's key."""
        return fill(kind, self.key, self.at, shape, dtype, device, purpose, stratified)

    def fill_in_place(self, kind: Kind) -> torch.Tensor:
        """Numbers for each value of the tensor that an operation changes; its memory where it fits."""
        like: torch.Tensor = self["self"]
        target = like if like.is_contiguous() else None
        shape = tuple(like.shape[1:])
        return fill(kind, self.key, self.at, shape, like.dtype, like.device, target=target)

    def put(self, made: torch.Tensor) -> torch.Tensor:
        """The tensor that an operation changes, with these values."""
        target: torch.Tensor = self["self"]
        return target if made.data_ptr() == target.data_ptr() else target.copy_(made)

    def fill_like(self, kind: Kind, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Numbers for each value of a tensor with the draw axis in front."""
        return self.fill(kind, tuple(like.shape[1:]), dtype, like.device)


def aligned(value: Any, dim: int) -> Any:
    """Insert axes behind the draw axis so that the rest lines up from the right."""
    if not isinstance(value, torch.Tensor) or value.dim() == dim:
        return value
    missing = dim - value.dim()
    return value.reshape(value.shape[0], *(1,) * missing, *value.shape[1:])


def broadcast(*values: Any) -> tuple[Any, ...]:
    """Tensors with the draw axis in front, aligned from the right and of one shape."""
    dim = max(value.dim() for value in values)
    return torch.broadcast_tensors(*(aligned(value, dim) for value in values))
