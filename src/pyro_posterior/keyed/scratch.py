"""Memory for what is on the way, one set a thread, so that it stays in a core's cache."""

from __future__ import annotations

import math
import threading

import torch

#: Larger pieces are not kept, in values.
LARGEST = 1 << 20

#: Views that are kept.
MOST_SHAPES = 256


class _Held(threading.local):
    def __init__(self) -> None:
        self.pieces: dict[tuple[str, torch.dtype], torch.Tensor] = {}
        self.shaped: dict[tuple[str, tuple[int, ...], torch.dtype], torch.Tensor] = {}


_held = _Held()


def scratch(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """A tensor of any values, good until this thread asks for ``name`` again."""
    found = _held.shaped.get((name, shape, dtype))
    if found is not None and device.type == "cpu":
        return found
    size = math.prod(shape)
    if device.type != "cpu" or size > LARGEST:
        return torch.empty(shape, dtype=dtype, device=device)
    kept = _held.pieces.get((name, dtype))
    if kept is None or len(kept) < size:
        with torch.inference_mode(False):  # else it could not be written to outside
            kept = _held.pieces[name, dtype] = torch.empty(size, dtype=dtype)
        _held.shaped.clear()
    if len(_held.shaped) > MOST_SHAPES:
        _held.shaped.clear()
    with torch.inference_mode(False):
        found = _held.shaped[name, shape, dtype] = kept[:size].view(shape)
    return found
