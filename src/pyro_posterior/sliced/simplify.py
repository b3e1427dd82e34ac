"""Fewer passes over memory: sums of products as matrix products, no arithmetic that changes
nothing, temporaries reused in place.

A chunk's values then stay in one buffer, in cache, from the random numbers to the site. A matrix
product adds in another order, within the tolerance of the batched slice; the rest keeps every bit.
An operation is left alone unless it is known who else looks at its memory or writes to it, which the
tape of the batched operations has seen.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import fx

from pyro_posterior.sliced.batching import RandomOp

aten = torch.ops.aten

# Operations and their in-place forms; the first argument's memory takes the result.
_IN_PLACE: dict[Any, Any] = {
    aten.add.Tensor: aten.add_.Tensor,
    aten.mul.Tensor: aten.mul_.Tensor,
    aten.sub.Tensor: aten.sub_.Tensor,
    aten.div.Tensor: aten.div_.Tensor,
    aten.exp.default: aten.exp_.default,
    aten.log.default: aten.log_.default,
    aten.neg.default: aten.neg_.default,
    aten.sqrt.default: aten.sqrt_.default,
    aten.sigmoid.default: aten.sigmoid_.default,
    aten.tanh.default: aten.tanh_.default,
    aten.reciprocal.default: aten.reciprocal_.default,
}
_COMMUTES = {aten.add.Tensor, aten.mul.Tensor}

#: Keys of a node's ``meta``, where known: (shape, stride, dtype, device); number of its memory;
#: numbers of the memory that it writes to.
FORM, MEMORY, WRITES = "form", "memory", "writes"


def simplify(graph: fx.Graph, *, exact: bool) -> None:
    """Rewrite a graph of ATen operations whose nodes know their `FORM`.

    ``exact``: keep every number to the last bit, so no matrix products.
    """
    memory = _Memory(graph)
    for node in list(graph.nodes):
        if _changes_nothing(node, memory):
            memory.join(node, node.args[0])
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    memory.tell(graph)
    for node in list(graph.nodes) if not exact else ():
        _as_matrix_product(node)
    memory = _Memory(graph)
    for node in graph.nodes:
        _reuse_memory(node, memory)
    for node in reversed(graph.nodes):  # memory made for nothing
        if not node.users and node.op == "get_attr":
            graph.erase_node(node)
    graph.lint()


class _Memory:
    """Which nodes share memory, and which memory is written to, as the tape saw it."""

    def __init__(self, graph: fx.Graph) -> None:
        self._joined: dict[int, int] = {}
        self._nodes = Counter(node.meta[MEMORY] for node in graph.nodes if MEMORY in node.meta)
        self._written = {home for node in graph.nodes for home in node.meta.get(WRITES, ())}

    def _home(self, node: fx.Node) -> int | None:
        home = node.meta.get(MEMORY)
        while home in self._joined:
            home = self._joined[home]
        return home

    def join(self, node: fx.Node, other: fx.Node) -> None:
        """The memory of ``node`` is that of ``other`` from now on."""
        home, target = self._home(node), self._home(other)
        if home is not None and target is not None and home != target:
            self._joined[home] = target
            self._nodes[target] += self._nodes.pop(home) - 1

    def tell(self, graph: fx.Graph) -> None:
        """Have the nodes know what has been joined: views of one are views of the other now."""
        for node in graph.nodes:
            if MEMORY in node.meta:
                node.meta[MEMORY] = self._home(node)

    def is_written(self, node: fx.Node) -> bool:
        """Whether anything writes to the memory of a node; yes where that is not known."""
        home = self._home(node)
        return home is None or home in self._written

    def looking(self, node: fx.Node) -> int:
        """How many nodes have the memory of this one."""
        home = self._home(node)
        return 2 if home is None else self._nodes[home]


def _changes_nothing(node: fx.Node, memory: _Memory) -> bool:
    if node.target is not aten.mul.Tensor or node.kwargs or len(node.args) != 2:
        return False
    value, number = node.args
    return (
        isinstance(value, fx.Node)
        and isinstance(number, int | float)
        and number == 1
        and value.meta.get(FORM) is not None
        and value.meta.get(FORM) == node.meta.get(FORM)
        and not memory.is_written(value)
        and not memory.is_written(node)
    )


def _as_matrix_product(node: fx.Node) -> None:
    """``(a * b).sum(dims)`` whose product is larger than both factors, without the product."""
    product: Any = node.args[0] if node.args else None
    if node.target is not aten.sum.dim_IntList or len(node.args) != 2 or node.kwargs:
        return
    if product.target is not aten.mul.Tensor or product.kwargs or len(product.users) != 1:
        return
    factors: list[Any] = list(product.args)
    forms: list[Any] = [x.meta.get(FORM) for x in factors if isinstance(x, fx.Node)]
    if len(forms) != 2 or any(form is None for form in (*forms, product.meta.get(FORM))):
        return
    shape, _, dtype, _ = product.meta[FORM]
    wide = dtype in (torch.float32, torch.float64)
    if not wide or any(form[2] != dtype or form[3] != forms[0][3] for form in forms):
        return
    if 0 in shape or not _is_contiguous(node.meta[FORM]):
        return
    dims: Any = node.args[1]
    summed = {dim % len(shape) for dim in dims} if shape else set()
    kept = [dim for dim in range(len(shape)) if dim not in summed]
    lengths = [(1,) * (len(shape) - len(form[0])) + tuple(form[0]) for form in forms]
    if not summed or any(own[dim] != shape[dim] for own in lengths for dim in summed):
        return
    if not all(any(own[dim] == 1 < shape[dim] for dim in kept) for own in lengths):
        return
    # Axes of length one are taken out, so that einsum sees a plain (batched) matrix product.
    operands: list[Any] = []
    with node.graph.inserting_before(product):  # a factor may be written to before the sum
        for factor, own in zip(factors, lengths, strict=True):
            axes = [dim for dim, length in enumerate(own) if length > 1]
            sizes = [own[dim] for dim in axes]
            flat = node.graph.call_function(aten.reshape.default, (factor, sizes))
            if MEMORY in factor.meta:
                flat.meta[MEMORY] = factor.meta[MEMORY]
            operands += [flat, axes]
        out = [dim for dim in kept if shape[dim] > 1]
        made = node.graph.call_function(torch.einsum, (*operands, out))
        whole = node.graph.call_function(aten.reshape.default, (made, list(node.meta[FORM][0])))
        whole = node.graph.call_function(aten.contiguous.default, (whole,))
    whole.meta[FORM] = node.meta[FORM]
    if MEMORY in node.meta:  # of which there may be views
        whole.meta[MEMORY] = node.meta[MEMORY]
    node.replace_all_uses_with(whole)
    node.graph.erase_node(node)
    node.graph.erase_node(product)


def _is_contiguous(form: Any) -> bool:
    step = 1
    for length, stride in zip(reversed(form[0]), reversed(form[1]), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return True


def _reuse_memory(node: fx.Node, memory: _Memory) -> None:
    in_place = _IN_PLACE.get(node.target)
    if node.op != "call_function" or in_place is None or node.kwargs:
        return
    candidates = [0, 1] if node.target in _COMMUTES else [0]
    for position in candidates:
        if position >= len(node.args):
            continue
        value = node.args[position]
        others = [x for i, x in enumerate(node.args) if i != position]
        if isinstance(value, fx.Node) and value not in others and _is_ours(value, node, memory):
            node.target = in_place
            node.args = (value, *others)
            return


def _is_ours(value: fx.Node, user: fx.Node, memory: _Memory) -> bool:
    """Whether ``value`` has memory of its own that nothing but ``user`` will look at."""
    form = value.meta.get(FORM)
    if form is None or form != user.meta.get(FORM) or len(value.users) != 1:
        return False
    if value.op != "call_function" or any(
        length > 1 and stride == 0 for length, stride in zip(form[0], form[1], strict=True)
    ):
        return False
    if isinstance(value.target, RandomOp) and value.target.writes((0,)):
        filled: Any = value.args[1]
        made_for_it = isinstance(filled, fx.Node) and filled.target is aten.empty.memory_format
        return made_for_it and len(filled.users) == 1 and memory.looking(value) == 2
    return memory.looking(value) == 1
