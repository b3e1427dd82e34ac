"""Which minibatches one recording may serve: those that differ in nothing but tensors' values."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import keystr, tree_flatten, tree_flatten_with_path

from pyro_posterior.contracts import Minibatch

Signature = tuple[Any, ...]


def signature(minibatch: Minibatch) -> Signature:
    """What must be equal for one recording to serve two minibatches: all but tensors' values."""
    leaves, spec = tree_flatten((minibatch.args, dict(minibatch.kwargs)))
    tensors = tensors_of(minibatch)

    def look(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            position = next(i for i, x in enumerate(tensors) if x is value)
            strided = value.layout == torch.strided
            layout = (tuple(value.shape), value.stride() if strided else str(value.layout))
            seen = (
                value.dtype,
                value.device,
                value.requires_grad,
                *map(_content, vars(value).items()),
            )
            return position, layout, seen
        if isinstance(value, np.ndarray) and value.dtype != object:
            return value.shape, str(value.dtype), value.tobytes()
        return type(value), _content(value)

    return repr(spec), *(look(value) for value in leaves)


class _Same:
    """Equal only for the same object, which is kept alive."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _content(value: Any) -> Any:
    """What tells two values apart. Many a ``repr`` leaves out what a table or matrix holds."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    try:
        return hashlib.sha256(pickle.dumps(value)).digest()
    except Exception:  # any object's own code may run here
        return _Same(value)


def tensors_of(minibatch: Minibatch) -> list[torch.Tensor]:
    """The distinct tensors among the arguments."""
    leaves = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
    found: dict[int, torch.Tensor] = {id(x): x for x in leaves if isinstance(x, torch.Tensor)}
    return list(found.values())


def places_of(minibatch: Minibatch) -> list[str]:
    """Where among the arguments each of `tensors_of` stands first."""
    leaves = tree_flatten_with_path((minibatch.args, dict(minibatch.kwargs)))[0]
    found: dict[int, str] = {}
    for path, x in leaves:
        if isinstance(x, torch.Tensor):
            found.setdefault(id(x), keystr(path))
    return list(found.values())


def content_of(tensor: torch.Tensor) -> str:
    """A digest of a tensor's values, shape and type."""
    held = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    raw = held.reshape(-1).view(torch.uint8) if held.numel() else torch.zeros(0, dtype=torch.uint8)
    form = f"{tuple(tensor.shape)} {tensor.dtype} ".encode()
    return hashlib.blake2b(form + raw.numpy().tobytes(), digest_size=16).hexdigest()


def contents_of(minibatch: Minibatch) -> tuple[str, ...]:
    """Digests of all tensors of a minibatch."""
    return tuple(content_of(tensor) for tensor in tensors_of(minibatch))
