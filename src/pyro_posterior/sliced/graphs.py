"""Stage 4, replaying: the batched slice as three `torch.fx` graphs.

``prologue(*inputs)`` runs once per minibatch, ``globals(where)`` once per chunk of draws, and
``body(where, *prologue values, *globals values)`` once per chunk and minibatch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior.sliced.batching import Batched, RandomOp, Where
from pyro_posterior.sliced.simplify import LAYOUT, simplify
from pyro_posterior.sliced.slicing import BATCH, DRAW
from pyro_posterior.sliced.tape import Op, Ref, Tape


@dataclass
class Graphs:
    """The three graphs, and where each output comes from."""

    prologue: fx.GraphModule
    globals: fx.GraphModule
    body: fx.GraphModule
    expected: list[Any]  # what the guards of the prologue must give
    sources: dict[str, tuple[str, int]]  # site -> ("constant"|"prologue"|"globals"|"body", index)
    constants: list[torch.Tensor]
    counts: dict[str, int]
    random_bytes: int  # size of all random numbers of a chunk


def build_graphs(batched: Batched) -> Graphs:
    """Split by level, drop what nothing needs, and emit."""
    tape = batched.tape
    home = {uid: op.level for op in tape.ops for uid in op.outs if uid is not None}
    home.update({uid: BATCH for uid in tape.inputs})
    wanted: dict[int, list[int]] = {0: [], BATCH: [], DRAW: [], BATCH | DRAW: []}
    sources, names = {}, {0: "constant", BATCH: "prologue", DRAW: "globals", 3: "body"}

    def ask(level: int, uid: int) -> int:
        if uid not in wanted[level]:
            wanted[level].append(uid)
        return wanted[level].index(uid)

    for name, uid in batched.outputs.items():
        level = home.get(uid, 0)
        sources[name] = (names[level], ask(level, uid))
    body = _needed(tape, BATCH | DRAW, wanted[BATCH | DRAW])
    body_out = list(wanted[BATCH | DRAW])
    for uid in _reads(body):
        if home.get(uid, 0) in (BATCH, DRAW):
            ask(home[uid], uid)
    glob = _needed(tape, DRAW, wanted[DRAW])
    prologue = _needed(tape, BATCH, wanted[BATCH], guards=True)
    guards = [op for op in prologue if op.read is not None]
    carried = [*wanted[BATCH], *wanted[DRAW]]
    return Graphs(
        prologue=_emit(
            tape,
            prologue,
            tape.inputs,
            wanted[BATCH],
            guards,
            takes_where=False,
            exact=batched.chunk is None,
        ),
        globals=_emit(
            tape, glob, [], wanted[DRAW], [], takes_where=True, exact=batched.chunk is None
        ),
        body=_emit(
            tape, body, carried, body_out, [], takes_where=True, exact=batched.chunk is None
        ),
        expected=[op.read for op in guards],
        sources=sources,
        constants=[tape.leaves[uid].detach() for uid in wanted[0]],
        counts={"prologue": len(prologue), "globals": len(glob), "body": len(body)},
        random_bytes=sum(
            tape.nbytes[uid]
            for op in (*glob, *body)
            if isinstance(op.func, RandomOp)
            for uid in (op.outs or op.writes)
            if uid is not None
        ),
    )


def _needed(tape: Tape, level: int, outputs: Iterable[int], guards: bool = False) -> list[Op]:
    """Operations of one level that the outputs need, in order."""
    tensors = set(outputs)
    storages = {tape.storage[uid] for uid in tensors}
    kept = []
    for op in reversed(tape.ops):
        if op.level != level:
            continue
        use = any(uid in tensors for uid in op.outs)
        use = use or any(tape.storage[uid] in storages for uid in op.writes)
        if use or (guards and op.read is not None):
            kept.append(op)
            tensors.update(op.ins)
            storages.update(tape.storage[uid] for uid in op.ins)
    return kept[::-1]


def _reads(ops: list[Op]) -> list[int]:
    return [uid for op in ops for uid in op.ins]


def _emit(
    tape: Tape,
    ops: list[Op],
    inputs: list[int],
    outputs: list[int],
    guards: list[Op],
    takes_where: bool,
    exact: bool,
) -> fx.GraphModule:
    graph, root = fx.Graph(), torch.nn.Module()
    where = graph.placeholder("where") if takes_where else None
    nodes: dict[int, fx.Node] = {}
    for position, uid in enumerate(inputs):
        nodes[uid] = graph.placeholder(f"in{position}")
        nodes[uid].meta[LAYOUT] = tape.layouts[uid]

    def node(uid: int) -> fx.Node:
        if uid not in nodes:
            name = f"constant{len(list(root.buffers()))}"
            root.register_buffer(name, tape.leaves[uid])
            nodes[uid] = graph.get_attr(name)
            nodes[uid].meta[LAYOUT] = tape.layouts[uid]
        return nodes[uid]

    reads = []
    for op in ops:
        args, kwargs = tree_map(
            lambda x: node(x.uid) if isinstance(x, Ref) else x, (op.args, op.kwargs)
        )
        if isinstance(op.func, RandomOp):
            args = (where, *args)
        made = graph.call_function(op.func, tuple(args), dict(kwargs))
        if any(op is guard for guard in guards):
            reads.append(made)
        if len(op.outs) == 1 and op.out_spec.is_leaf():
            if op.outs[0] is not None:
                nodes[op.outs[0]] = made
                made.meta[LAYOUT] = tape.layouts[op.outs[0]]
        else:
            for position, made_uid in enumerate(op.outs):
                if made_uid is not None:
                    nodes[made_uid] = graph.call_function(operator.getitem, (made, position))
    graph.output((tuple(node(uid) for uid in outputs), tuple(reads)))
    if takes_where:
        simplify(graph, exact=exact)
    return fx.GraphModule(root, graph)


def guards_hold(expected: list[Any], found: tuple[Any, ...]) -> bool:
    """Whether Python would have read the same of this minibatch."""
    for want, got in zip(expected, found, strict=True):
        tensors = [x for x in tree_flatten(got)[0] if isinstance(x, torch.Tensor)]
        if tensors:
            got = tuple(tuple(x.shape) for x in tensors)
        if repr(want) != repr(got):
            return False
    return True


__all__ = ["Graphs", "Where", "build_graphs", "guards_hold"]
