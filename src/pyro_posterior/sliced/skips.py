"""What a further recording of the same shapes need not compute: large tensors that nothing needs.

A likelihood over thousands of columns costs most of a recorded draw and falls away afterwards. Where
an earlier recording has shown that, the operations are noted again but not run: empty memory stands
in for what they would give. Whatever Python or a needed operation could look at is computed: an
operation is skipped only if its result is large and all that takes the result is skipped as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_unflatten

from pyro_posterior.sliced.slicing import Slice
from pyro_posterior.sliced.tape import Op

#: Smaller results are computed: Python reads numbers off small tensors, and they cost nothing.
LEAST_BYTES = 256 << 10


class OtherCourse(Exception):
    """The draw took another course than the one recorded, so that something skipped was needed."""


@dataclass(frozen=True)
class _Step:
    func: Any
    skipped: bool
    forms: tuple[Any, ...]  # shape, stride, dtype, device of each output
    out_spec: Any


@dataclass(frozen=True)
class Skips:
    """The course of an earlier recording, step by step."""

    steps: tuple[_Step, ...]
    nbytes: int  # of the results that are skipped

    @classmethod
    def of(cls, cut: Slice) -> Skips:
        """What a slice with all wanted sites shows to be of no consequence."""
        tape = cut.tape
        needed = {id(op) for ops in (cut.ops, cut.guards, cut.free_reads) for op in ops}
        looked_at: set[int] = set()  # storages that something computed will read
        skipped = []
        for op in reversed(tape.ops):
            homes = {tape.storage[uid] for uid in (*op.outs, *op.writes) if uid is not None}
            large = sum(tape.nbytes[uid] for uid in op.outs if uid is not None) >= LEAST_BYTES
            free = id(op) not in needed and op.read is None and large and not homes & looked_at
            if not free and not (large and _is_view(op, tape.storage)):
                looked_at.update(tape.storage[uid] for uid in op.ins)
            skipped.append(free and not _is_view(op, tape.storage))
        steps = (
            _Step(op.func, skip, tuple(tape.forms.get(uid) for uid in op.outs), op.out_spec)
            for op, skip in zip(tape.ops, reversed(skipped), strict=True)
        )
        spared = sum(
            tape.nbytes[uid]
            for op, skip in zip(tape.ops, reversed(skipped), strict=True)
            for uid in op.outs
            if skip and uid is not None
        )
        return cls(tuple(steps), spared)

    def skips(self, position: int, func: Any) -> bool:
        """Whether the operation at this place of the course is skipped."""
        if position >= len(self.steps) or self.steps[position].func is not func:
            return False
        return self.steps[position].skipped

    def stand_in(self, position: int, target: torch.Tensor | None) -> Any:
        """Empty memory of the right form; the target itself of an operation that works in place."""
        step = self.steps[position]
        if target is not None:
            return target
        made = [
            torch.empty_strided(shape, stride, dtype=dtype, device=device)
            for shape, stride, dtype, device in step.forms
        ]
        return tree_unflatten(made, step.out_spec)


def _is_view(op: Op, storage: dict[int, int]) -> bool:
    read = {storage[uid] for uid in op.ins}
    return not op.writes and all(uid is not None and storage[uid] in read for uid in op.outs)
