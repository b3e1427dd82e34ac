"""A compiled slice as text: what runs how often, and what fell away."""

from __future__ import annotations

from collections import Counter

import torch

from pyro_posterior.keyed.rules import rule_of
from pyro_posterior.sliced.compiled import Compiled


def describe(compiled: Compiled) -> list[str]:
    """The graphs of one slice, line by line."""
    cut, graphs = compiled.cut, compiled.graphs
    needed = {id(op) for op in cut.guards} | {id(op) for op in cut.ops}
    gone = Counter(op.name for op in cut.tape.ops if id(op) not in needed)
    lines = [
        f"{len(cut.tape.ops)} operations recorded, {gone.total()} fell away",
        "# fell away: " + ", ".join(f"{name} x{n}" for name, n in gone.most_common()),
        f"# constants, made once: {len(graphs.constants)} returned as they are",
    ]
    held: dict[int, torch.Tensor] = {}
    for graph in (graphs.prologue, graphs.globals, graphs.body):
        held |= {id(value): value for value in graph.tensors()}
    lines += [f"  {value.dtype} {tuple(value.shape)}" for value in held.values()]
    often = {
        "prologue": "once per minibatch",
        "globals": f"once per {compiled.draws_at_once} draws",
        "body": f"once per {compiled.draws_at_once} draws of a minibatch",
    }
    for title, when in often.items():
        graph = getattr(graphs, title)
        lines.append(f"# {title}, {when}: {graphs.counts[title]} operations after batching")
        lines += [f"  {node.format_node()}" for node in graph.graph.nodes]
    lines.append("# random numbers, and how they are spread over the draws")
    for op in cut.ops:
        if op.key is not None and (rule := rule_of(op.func)) is not None:
            lines.append(f"  {op.key.site} #{op.key.count}: {op.name}, {rule.how}")
    reads = sum(op.read is not None for op in cut.guards)
    return [*lines, f"# guards, looked at once per minibatch: {reads}"]
