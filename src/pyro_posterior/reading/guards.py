"""Whether another minibatch takes the same way through the code, seen without running the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior.contracts import Minibatch
from pyro_posterior.reading.flow import Flow
from pyro_posterior.sliced.same import equal_values
from pyro_posterior.sliced.signature import tensors_of
from pyro_posterior.sliced.tape import Op, Record, Ref
from pyro_posterior.sliced.tensors import Leak


@dataclass(frozen=True)
class Guards:
    """What Python learnt of the arguments in a recorded run, ready to be asked of others."""

    record: Record | None
    ops: tuple[Op, ...]
    only_here: bool  # something was learnt that cannot be asked again

    def hold(self, minibatch: Minibatch) -> bool:
        """Whether Python would learn the same; the tensors have the shapes of the record."""
        if self.only_here or self.record is None:
            return False
        tape = self.record.tape
        known = dict(zip(tape.inputs, tensors_of(minibatch), strict=True))

        def value(x: Any) -> Any:
            if not isinstance(x, Ref):
                return x
            return known[x.uid] if x.uid in known else tape.leaves[x.uid]

        for op in self.ops:
            try:
                out = op.func(*tree_map(value, op.args), **tree_map(value, op.kwargs))
            except RuntimeError:  # shapes no longer fit
                return False
            flat = tree_flatten(out)[0]
            for uid, made in zip(op.outs, flat, strict=True):
                if uid is not None:
                    known[uid] = made
            if op.read is not None and not _same_read(op.read, out, flat):
                return False
        return True


def guards_of(record: Record | None, flow: Flow | None) -> Guards:
    """The operations that a recorded run's looks at its arguments rest on."""
    if record is None or flow is None:
        return Guards(None, (), only_here=True)
    looks = flow.reads_of_data
    if not looks:
        return Guards(record, (), only_here=False)
    looked = {id(op) for op in looks}
    tape = record.tape
    wanted: set[int] = set()
    homes: set[int] = set()
    needed = []
    for op in reversed(tape.ops):
        made = {uid for uid in op.outs if uid is not None}
        if id(op) in looked or made & wanted or {tape.storage[uid] for uid in op.writes} & homes:
            needed.append(op)
            wanted.update(op.ins)
            homes.update(tape.storage[uid] for uid in op.ins)
    unseen = any(isinstance(op.func, Leak) or op.key is not None for op in needed)
    return Guards(record, tuple(reversed(needed)), only_here=unseen)


def _same_read(expected: Any, out: Any, flat: list[Any]) -> bool:
    if flat and all(isinstance(x, torch.Tensor) for x in flat):  # what was read are the shapes
        return bool(tuple(tuple(x.shape) for x in flat) == expected)
    one, other = tree_flatten(expected)[0], tree_flatten(out)[0]
    return len(one) == len(other) and all(map(_equal, one, other))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return equal_values(one, other)
    return repr(one) == repr(other)
