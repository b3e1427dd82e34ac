"""The form of a slice: all that it is but for the values of its constants and of the minibatch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.sliced.slicing import Slice
from pyro_posterior.sliced.tape import Op, Ref


@dataclass(frozen=True)
class Form:
    """Slices of equal ``steps`` differ in nothing but values.

    ``tensors`` are the slice's own numbers of its tensors, in the order in which they appear: those
    at the same place in slices of the same steps are the same tensor.
    """

    steps: tuple[Any, ...]
    tensors: tuple[int, ...]


def form_of(cut: Slice, *, keyed: bool = True) -> Form:
    """The form of a slice.

    Parameters
    ----------
    cut
        Of a recorded draw.
    keyed
        Whether it is known which of its random operations are local, and so what depends on what.
    """
    tape = cut.tape
    places: dict[int, int] = {}
    homes: dict[int, int] = {}

    def place(uid: int) -> Any:
        if uid in places:
            return places[uid]
        places[uid] = len(places)
        home = homes.setdefault(tape.storage[uid], len(homes))
        literal = uid in tape.literals
        return places[uid], home, tape.forms[uid], uid in tape.leaves, literal

    def value(x: Any) -> Any:
        return ("tensor", place(x.uid)) if isinstance(x, Ref) else (type(x), repr(x))

    def step(op: Op, level: int) -> Any:
        flat, spec = tree_flatten((op.args, op.kwargs))
        key = op.key and (op.key.site, op.key.count, keyed and op.key.local)
        ins = tuple(value(x) for x in flat)
        outs = tuple(None if uid is None else place(uid) for uid in op.outs)
        func = op.func if isinstance(op.func, torch._ops.OpOverload) else repr(op.func)
        return func, spec, key, ins, outs, tuple(map(place, op.ins)), op.read is None, level

    steps = (
        tuple(map(place, tape.inputs)),
        tuple(step(op, cut.level_of(op) if keyed else 0) for op in cut.ops),
        tuple(step(op, 0) for op in cut.guards),
        tuple((name, place(uid)) for name, uid in cut.outputs.items()),
    )
    return Form(steps, tuple(places))


def fixed_values(cut: Slice) -> dict[int, torch.Tensor]:
    """What depends on neither data nor draws, computed: by numbers of the slice's tensors."""
    found = dict(cut.tape.leaves)
    with torch.no_grad():
        for op in cut.ops:
            if cut.level_of(op):
                continue
            flat, spec = tree_flatten((op.args, op.kwargs))
            plain = [found[x.uid] if isinstance(x, Ref) else x for x in flat]
            args, kwargs = torch.utils._pytree.tree_unflatten(plain, spec)
            out = tree_flatten(op.func(*args, **kwargs))[0]
            found.update((uid, x) for uid, x in zip(op.outs, out, strict=True) if uid is not None)
    return found
