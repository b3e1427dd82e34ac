"""Stage 2, slicing: what each operation depends on, and which ones the wanted sites need.

Levels (bits): 0 constant, `BATCH` on the minibatch, `DRAW` on random draws, both. They are kept
per storage, so that a write in place raises all that shares the memory, earlier reads included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.keyed.keys import FREE
from pyro_posterior.sliced.tape import Op, Record, Tape
from pyro_posterior.sliced.tensors import Leak

BATCH, DRAW = 1, 2


@dataclass
class Slice:
    """The operations that the outputs need, in order, and the guards."""

    tape: Tape
    ops: list[Op]  # needed by the outputs
    guards: list[Op]  # what Python read of the minibatch, and what that needs, in order
    outputs: dict[str, int]
    levels: dict[int, int]  # by storage
    free_reads: list[Op]  # Python read a draw made outside any site

    @property
    def hands_out_memory(self) -> bool:
        """Whether Python got hold of memory made from the minibatch, and could change it unseen."""
        return any(is_leak(op) and op.func.memory for op in self.guards)

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
    wanted, guards = Needs(tape, outputs.values()), Needs(tape, ())
    for op in reversed(tape.ops):
        if op.read is not None and _reads(found, op) & DRAW:
            memory = is_leak(op) and op.func.memory
            if memory or any(tape.storage[uid] in of_sites for uid in op.ins):
                raise CannotSliceError(
                    f"Python reads a value that depends on a draw ({op.func}, {op.line}): "
                    "the model's control flow may depend on it"
                )
            found.free_reads.append(op)
        guard = op.read is not None and _reads(found, op) == BATCH
        if guard or guards.has(op):
            guards.take(op)
            found.guards.append(op)
        if wanted.has(op):
            wanted.take(op)
            found.ops.append(op)
    found.ops.reverse()
    found.guards.reverse()
    _check_order(found)
    return found


def _reads(found: Slice, op: Op) -> int:
    level = 0
    for uid in op.ins:
        level |= found.level(uid)
    return level


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


class Needs:
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


def is_leak(op: Op) -> bool:
    """Whether the operation is a read outside dispatch, which cannot be run again."""
    return isinstance(op.func, Leak)
