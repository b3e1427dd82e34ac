"""Whether two slices are one program: the same operations, on the same constants."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.sliced.slicing import Slice
from pyro_posterior.sliced.tape import Ref
from pyro_posterior.sliced.tensors import is_strided


def same_slice(one: Slice, other: Slice, remade: list[int] | None = None) -> str:
    """Empty where two slices are the same program with the same constants, else what differs.

    Numbers of constants that no operation made, equal but not the same memory in the two, go to
    ``remade``: Python made them anew each time, from nobody knows what.
    """
    if len(one.ops) != len(other.ops):
        return f"{len(one.ops)} operations in one, {len(other.ops)} in the other"
    numbers: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
    for position, uids in enumerate(zip(one.tape.inputs, other.tape.inputs, strict=True)):
        for number, uid in zip(numbers, uids, strict=True):
            number[uid] = position
    checked: set[tuple[int, int]] = set()
    for position, (a, b) in enumerate(zip(one.ops, other.ops, strict=True)):
        if a.func is not b.func or a.key != b.key or _plain(a.read) != _plain(b.read):
            return f"operation {position}: {a.func} in one, {b.func} in the other"
        flat_a, spec_a = tree_flatten((a.args, a.kwargs))
        flat_b, spec_b = tree_flatten((b.args, b.kwargs))
        if spec_a != spec_b:
            return f"operation {position} ({a.func}): other arguments"
        for x, y in zip(flat_a, flat_b, strict=True):
            if isinstance(x, Ref) and isinstance(y, Ref):
                if not _same_tensor(one, other, numbers, checked, x.uid, y.uid, remade):
                    return f"operation {position} ({a.func}): another tensor"
            elif repr(x) != repr(y):
                return f"operation {position} ({a.func}): {x!r} in one, {y!r} in the other"
        for i, (x, y) in enumerate(zip(a.outs, b.outs, strict=True)):
            if x is not None and y is not None:
                numbers[0].setdefault(x, (position, i))
                numbers[1].setdefault(y, (position, i))
    for name, uid in one.outputs.items():
        if not _same_tensor(one, other, numbers, checked, uid, other.outputs[name], remade):
            return f"site {name!r} is another tensor"
    return ""


def _plain(read: Any) -> Any:
    return repr(read) if read is not None else None


def _same_tensor(
    one: Slice,
    other: Slice,
    numbers: tuple[dict[int, Any], dict[int, Any]],
    checked: set[tuple[int, int]],
    x: int,
    y: int,
    remade: list[int] | None,
) -> bool:
    if x in numbers[0] or y in numbers[1]:
        return numbers[0].get(x) == numbers[1].get(y)
    if (x, y) in checked:
        return True
    a, b = one.tape.leaves.get(x), other.tape.leaves.get(y)
    if a is None or b is None or not (a is b or equal_values(a, b)):
        return False
    checked.add((x, y))
    literal = x in one.tape.literals
    a, b = one.tape.originals.get(x, a), other.tape.originals.get(y, b)
    if remade is not None and not literal and a.numel() and not _one_memory(a, b):
        remade.append(x)
    return True


def _one_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a is b or (is_strided(a) and is_strided(b) and a.data_ptr() == b.data_ptr())


def equal_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, NaN in the same places."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.layout != b.layout:
        return False
    if not is_strided(a):
        a, b = a.to_dense(), b.to_dense()
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    if a.is_floating_point():
        gaps = torch.isnan(a)
        if not torch.equal(gaps, torch.isnan(b)):
            return False
        a, b = a.masked_fill(gaps, 0.0), b.masked_fill(gaps, 0.0)
    return bool(torch.equal(a, b))
