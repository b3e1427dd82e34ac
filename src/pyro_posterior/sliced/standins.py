"""Memory that stood in for a skipped result and that the model still holds gets the result after all.

A model may keep what it computes: a cache by minibatch, an attribute that is looked at later.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior.keyed.keys import Where
from pyro_posterior.keyed.rules import draw_one
from pyro_posterior.sliced.slicing import Needs
from pyro_posterior.sliced.tape import Op, Ref, Tape


def fill_stand_ins(tape: Tape, empty: set[int], where: Where) -> None:
    """Compute what somebody still holds of the storages ``empty``, and write it there."""
    held = [pair for storage in empty for pair in tape.alive(storage)]
    if not held:
        return
    needs, ops = Needs(tape, [uid for uid, _ in held]), []
    for op in reversed(tape.ops):
        if needs.has(op):
            needs.take(op)
            ops.append(op)
    ops.reverse()
    last = {uid: position for position, op in enumerate(ops) for uid in op.ins}
    kept = {uid for uid, _ in held}
    values: dict[int, Any] = {}
    with torch.no_grad():
        for position, op in enumerate(ops):
            made = tree_flatten(_run(op, tape, values, where))[0]
            values.update((uid, x) for uid, x in zip(op.outs, made, strict=True) if uid is not None)
            for uid in op.ins:
                if last[uid] == position and uid not in kept:
                    values.pop(uid, None)
        for uid, tensor in held:
            tensor.copy_(values[uid])


def _run(op: Op, tape: Tape, values: dict[int, Any], where: Where) -> Any:
    def value(x: Any) -> Any:
        if not isinstance(x, Ref):
            return x
        return values[x.uid] if x.uid in values else tape.leaves[x.uid]

    args, kwargs = tree_map(value, (op.args, op.kwargs))
    if op.key is None:
        return op.func(*args, **kwargs)
    return draw_one(op.func, op.key, where, args, kwargs)
