"""What Python read of a minibatch, as a graph that tells whether it would read the same of another."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior.sliced.compute import Compute, compute
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.signature import content_of
from pyro_posterior.sliced.slicing import Slice, is_leak
from pyro_posterior.sliced.tape import Ref


@dataclass(frozen=True)
class Guards:
    """``hold(tensors of a minibatch)``: whether guide and model would take the recorded course."""

    graph: Compute
    expected: tuple[str, ...]

    def hold(self, tensors: list[torch.Tensor]) -> bool:
        """Whether Python would have read the same."""
        if not self.expected:
            return True
        try:
            with as_reason("looking at"), torch.inference_mode():
                found = self.graph(*tensors)
        except RuntimeError:  # shapes no longer fit
            return False
        return all(_as_read(got) == want for got, want in zip(found, self.expected, strict=True))


def guards_of(cut: Slice) -> Guards:
    """The guards of a slice, with the operations that lead to them."""
    tape = cut.tape
    graph, root = fx.Graph(), torch.nn.Module()
    nodes: dict[int, fx.Node] = {}
    fixed: dict[int, torch.Tensor] = {}  # what depends on no minibatch, computed here
    for position, uid in enumerate(tape.inputs):
        nodes[uid] = graph.placeholder(f"in{position}")

    def value(uid: int) -> torch.Tensor:
        return fixed[uid] if uid in fixed else tape.leaves[uid]

    def node(uid: int) -> fx.Node:
        if uid not in nodes:
            name = f"constant{len(list(root.buffers()))}"
            root.register_buffer(name, value(uid))
            nodes[uid] = graph.get_attr(name)
        return nodes[uid]

    reads, expected = [], []
    for op in cut.guards:
        guard = op.read is not None and any(cut.level(uid) for uid in op.ins)
        if is_leak(op):
            reads.append(graph.call_function(content_of, (node(op.ins[0]),)))
            expected.append(repr(op.read))
            continue
        if not guard and not cut.level_of(op):
            args, kwargs = tree_map(
                lambda x: value(x.uid) if isinstance(x, Ref) else x, (op.args, op.kwargs)
            )
            flat = tree_flatten(op.func(*args, **kwargs))[0]
            fixed.update((uid, x) for uid, x in zip(op.outs, flat, strict=True) if uid is not None)
            continue
        args, kwargs = tree_map(
            lambda x: node(x.uid) if isinstance(x, Ref) else x, (op.args, op.kwargs)
        )
        made = graph.call_function(op.func, tuple(args), dict(kwargs))
        if guard:
            reads.append(made)
            expected.append(repr(op.read))
        if op.out_spec.is_leaf():
            if op.outs[0] is not None:
                nodes[op.outs[0]] = made
        else:
            for position, out in enumerate(op.outs):
                if out is not None:
                    nodes[out] = graph.call_function(operator.getitem, (made, position))
    graph.output(tuple(reads))
    return Guards(compute(graph, root), tuple(expected))


def _as_read(found: Any) -> str:
    """What Python learns of an operation, as the tape keeps it: numbers, or else shapes."""
    flat = tree_flatten(found)[0]
    numbers = tuple(x for x in flat if x is not None and not isinstance(x, torch.Tensor))
    return repr(numbers or tuple(tuple(x.shape) for x in flat if isinstance(x, torch.Tensor)))
