"""Stage 4, replaying: the batched slice as three `torch.fx` graphs.

``prologue(*inputs)`` runs once per minibatch, ``globals(where)`` once per chunk of draws, and
``body(where, *prologue values, *globals values)`` once per chunk and minibatch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import fx
from torch.utils._pytree import tree_map

from pyro_posterior.sliced.batching import Batched, RandomOp
from pyro_posterior.sliced.compute import Compute, compute
from pyro_posterior.sliced.simplify import FORM, MEMORY, WRITES, simplify
from pyro_posterior.sliced.slicing import BATCH, DRAW
from pyro_posterior.sliced.tape import Op, Ref, Tape


@dataclass
class Graphs:
    """The three graphs, and where each output comes from."""

    prologue: Compute
    globals: Compute
    body: Compute
    sources: dict[str, tuple[str, int]]  # site -> ("constant"|"prologue"|"globals"|"body", index)
    constants: list[torch.Tensor]
    origins: list[int | None]  # of the constants: their numbers on the tape of the slice
    counts: dict[str, int]


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
    prologue = _needed(tape, BATCH, wanted[BATCH])
    carried = [*wanted[BATCH], *wanted[DRAW]]
    where, origin = {"takes_where": True, "exact": batched.chunk is None}, batched.origin
    return Graphs(
        prologue=emit(tape, prologue, tape.inputs, wanted[BATCH], origin=origin),
        globals=emit(tape, glob, [], wanted[DRAW], origin=origin, **where),
        body=emit(tape, body, carried, body_out, origin=origin, **where),
        sources=sources,
        constants=[tape.leaves[uid].detach() for uid in wanted[0]],
        origins=[origin.get(uid) for uid in wanted[0]],
        counts={"prologue": len(prologue), "globals": len(glob), "body": len(body)},
    )


def _needed(tape: Tape, level: int, outputs: Iterable[int]) -> list[Op]:
    """Operations of one level that the outputs need, in order."""
    tensors = set(outputs)
    storages = {tape.storage[uid] for uid in tensors}
    kept = []
    for op in reversed(tape.ops):
        if op.level != level:
            continue
        use = any(uid in tensors for uid in op.outs)
        use = use or any(tape.storage[uid] in storages for uid in op.writes)
        if use:
            kept.append(op)
            tensors.update(op.ins)
            storages.update(tape.storage[uid] for uid in op.ins)
    return kept[::-1]


def _reads(ops: list[Op]) -> list[int]:
    return [uid for op in ops for uid in op.ins]


def emit(
    tape: Tape,
    ops: list[Op],
    inputs: list[int],
    outputs: list[int],
    takes_where: bool = False,
    exact: bool = True,
    rewrite: bool = True,
    origin: Mapping[int, int] | None = None,
) -> Compute:
    """A graph of operations of one level, simplified unless it runs once per minibatch only."""
    graph, root = fx.Graph(), torch.nn.Module()
    where = graph.placeholder("where") if takes_where else None
    nodes: dict[int, fx.Node] = {}
    origins: dict[str, int | None] = {}

    def know(uid: int, node: fx.Node) -> None:
        nodes[uid] = node
        node.meta[FORM], node.meta[MEMORY] = tape.forms[uid], tape.storage[uid]

    for position, uid in enumerate(inputs):
        know(uid, graph.placeholder(f"in{position}"))

    def node(uid: int) -> fx.Node:
        if uid not in nodes:
            name = f"constant{len(list(root.buffers()))}"
            root.register_buffer(name, tape.leaves[uid])
            origins[name] = (origin or {}).get(uid)
            know(uid, graph.get_attr(name))
        return nodes[uid]

    for op in ops:
        args, kwargs = tree_map(
            lambda x: node(x.uid) if isinstance(x, Ref) else x, (op.args, op.kwargs)
        )
        if isinstance(op.func, RandomOp):
            args = (where, *args)
        made = graph.call_function(op.func, tuple(args), dict(kwargs))
        made.meta[WRITES] = frozenset(tape.storage[uid] for uid in op.writes)
        if len(op.outs) == 1 and op.out_spec.is_leaf():
            if op.outs[0] is not None:
                know(op.outs[0], made)
        else:
            for position, made_uid in enumerate(op.outs):
                if made_uid is not None:
                    know(made_uid, graph.call_function(operator.getitem, (made, position)))
    graph.output(tuple(node(uid) for uid in outputs))
    if takes_where and rewrite:
        simplify(graph, exact=exact)
    return compute(graph, root, origins)
