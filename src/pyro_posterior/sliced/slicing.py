"""Stage 2, slicing: what each operation depends on, and which ones the wanted sites need.

Levels (bits): 0 constant, `BATCH` on the minibatch, `DRAW` on random draws, both. They are kept
per storage, so that a write in place raises all that shares the memory, earlier reads included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.randomness import FREE
from pyro_posterior.sliced.tape import Leak, Op, Record, Ref, Tape

BATCH, DRAW = 1, 2


@dataclass
class Slice:
    """The operations that the outputs need, in order, and the guards."""

    tape: Tape
    ops: list[Op]  # needed by the outputs
    guarded: list[Op]  # needed by the outputs or by guards, guards included
    outputs: dict[str, int]
    levels: dict[int, int]  # by storage
    free_reads: list[Op]  # Python read a draw made outside any site

    def level(self, uid: int) -> int:
        """Level of a tensor."""
        return self.levels.get(self.tape.storage[uid], 0)

    def level_of(self, op: Op) -> int:
        """Level of an operation: of what it makes, or of what it reads where it makes nothing."""
        made = [uid for uid in op.outs if uid is not None] + list(op.writes)
        level = 0
        for uid in made or op.ins:
            level |= self.level(uid)
        return level


def slice_record(record: Record, names: tuple[str, ...]) -> Slice:
    """Keep what the sites ``names`` need.

    Raises
    ------
    CannotSliceError
        Python read a value that depends on a site's draw, so control flow may depend on it.
    """
    tape = record.tape
    levels, of_sites = _levels(tape)
    outputs = {name: record.outputs[name] for name in names}
    found = Slice(tape, [], [], outputs, levels, [])
    wanted, guards = _Needs(tape, outputs.values()), _Needs(tape, outputs.values())
    for op in reversed(tape.ops):
        if op.read is not None:
            level = 0
            for uid in op.ins:
                level |= found.level(uid)
            if level & DRAW:
                if any(tape.storage[uid] in of_sites for uid in op.ins):
                    raise CannotSliceError(
                        f"Python reads a value that depends on a draw ({op.func}, {op.line}): "
                        "the model's control flow may depend on it"
                    )
                found.free_reads.append(op)
            elif level & BATCH:
                guards.take(op)
                found.guarded.append(op)
                if wanted.has(op):
                    wanted.take(op)
                    found.ops.append(op)
                continue
        if wanted.has(op):
            wanted.take(op)
            found.ops.append(op)
        if guards.has(op):
            guards.take(op)
            found.guarded.append(op)
    found.ops.reverse()
    found.guarded.reverse()
    _check_order(found)
    return found


def _check_order(found: Slice) -> None:
    """A level runs whole before the next, so what a later level read must not be written again."""
    storage = found.tape.storage
    readers: dict[int, int] = {}  # storage -> level of a reader that runs later
    for op in found.ops:
        level = found.level_of(op)
        for uid in op.writes:
            if readers.get(storage[uid], level) != level:
                raise CannotSliceError(
                    f"{op.func} changes a tensor of shape {found.tape.layouts[uid][0]} in place after "
                    "something that depends on draws or data has read it"
                )
        for uid in op.ins:
            if found.level(uid) != level:
                readers[storage[uid]] = level


class _Needs:
    """What is needed so far, going backwards."""

    def __init__(self, tape: Tape, outputs: Any) -> None:
        self._tape = tape
        self._tensors = set(outputs)
        self._storages = {tape.storage[uid] for uid in self._tensors}

    def has(self, op: Op) -> bool:
        if any(uid in self._tensors for uid in op.outs if uid is not None):
            return True
        return any(self._tape.storage[uid] in self._storages for uid in op.writes)

    def take(self, op: Op) -> None:
        self._tensors.update(op.ins)
        self._storages.update(self._tape.storage[uid] for uid in op.ins)


def _levels(tape: Tape) -> tuple[dict[int, int], set[int]]:
    """Level by storage, and the storages that depend on a draw of a site; to a fixpoint."""
    storage = tape.storage
    levels = {storage[uid]: BATCH for uid in tape.inputs}
    of_sites: set[int] = set()
    changed = True
    while changed:
        changed = False
        for op in tape.ops:
            level, from_site = 0, False
            for uid in op.ins:
                level |= levels.get(storage[uid], 0)
                from_site = from_site or storage[uid] in of_sites
            if op.key is not None:
                level |= DRAW | (BATCH if op.key.local else 0)
                from_site = from_site or op.key.site != FREE
            for target in (*op.outs, *op.writes):
                if target is None:
                    continue
                home = storage[target]
                if levels.get(home, 0) | level != levels.get(home, 0):
                    levels[home] = levels.get(home, 0) | level
                    changed = True
                if from_site and home not in of_sites:
                    of_sites.add(home)
                    changed = True
    return levels, of_sites


# --------------------------------------------------------------------------------------- comparing


def same_slice(one: Slice, other: Slice, remade: list[torch.Tensor] | None = None) -> str:
    """Empty where two slices are the same program with the same constants, else what differs.

    Constants that no operation made, equal but not the same memory in the two, go to ``remade``:
    Python made them anew each time, from nobody knows what.
    """
    if len(one.ops) != len(other.ops):
        return f"{len(one.ops)} operations in one, {len(other.ops)} in the other"
    numbers: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for position, uids in enumerate(zip(one.tape.inputs, other.tape.inputs, strict=True)):
        for number, uid in zip(numbers, uids, strict=True):
            number[uid] = -1 - position
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
                numbers[0].setdefault(x, position * 1000 + i)
                numbers[1].setdefault(y, position * 1000 + i)
    for name, uid in one.outputs.items():
        if not _same_tensor(one, other, numbers, checked, uid, other.outputs[name], remade):
            return f"site {name!r} is another tensor"
    return ""


def _plain(read: Any) -> Any:
    return repr(read) if read is not None else None


def _same_tensor(
    one: Slice,
    other: Slice,
    numbers: tuple[dict[int, int], dict[int, int]],
    checked: set[tuple[int, int]],
    x: int,
    y: int,
    remade: list[torch.Tensor] | None,
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
    if remade is not None and not literal and a.numel() and a.data_ptr() != b.data_ptr():
        remade.append(a)
    return True


def equal_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors hold the same values, NaN in the same places."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_floating_point():
        gaps = torch.isnan(a)
        if not torch.equal(gaps, torch.isnan(b)):
            return False
        a, b = a.masked_fill(gaps, 0.0), b.masked_fill(gaps, 0.0)
    return bool(torch.equal(a, b))


def is_leak(op: Op) -> bool:
    """Whether the operation is a read outside dispatch, which cannot be run again."""
    return isinstance(op.func, Leak)
