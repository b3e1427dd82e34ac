"""Fewer passes over memory: sums of products as matrix products, no arithmetic that changes
nothing, temporaries reused in place.

A chunk's values then stay in one buffer, in cache, from the random numbers to the site. A matrix
product adds in another order, within the tolerance of the batched slice; the rest keeps the numbers
(a negative zero may become a positive one).
"""

from __future__ import annotations

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
_NEUTRAL: dict[Any, int] = {aten.add.Tensor: 0, aten.mul.Tensor: 1}

#: Key of a node's ``meta`` with (shape, dtype), where known.
LAYOUT = "layout"


def simplify(graph: fx.Graph, *, exact: bool) -> None:
    """Rewrite a graph of ATen operations whose nodes know their `LAYOUT`.

    ``exact``: keep every number to the last bit, so no matrix products.
    """
    for node in list(graph.nodes):
        if _changes_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in list(graph.nodes) if not exact else ():
        _as_matrix_product(node)
    for node in graph.nodes:
        _reuse_memory(node)
    for node in reversed(graph.nodes):  # memory made for nothing
        if not node.users and node.op == "get_attr":
            graph.erase_node(node)
    graph.lint()


def _changes_nothing(node: fx.Node) -> bool:
    neutral = _NEUTRAL.get(node.target)
    if node.op != "call_function" or neutral is None or node.kwargs or len(node.args) != 2:
        return False
    value, number = node.args
    return (
        isinstance(value, fx.Node)
        and isinstance(number, int | float)
        and number == neutral
        and value.meta.get(LAYOUT) is not None
        and value.meta.get(LAYOUT) == node.meta.get(LAYOUT)
    )


def _as_matrix_product(node: fx.Node) -> None:
    """``(a * b).sum(dims)`` whose product is larger than both factors, without the product."""
    product: Any = node.args[0] if node.args else None
    if node.target is not aten.sum.dim_IntList or len(node.args) != 2 or node.kwargs:
        return
    if product.target is not aten.mul.Tensor or product.kwargs or len(product.users) != 1:
        return
    factors: list[Any] = list(product.args)
    layouts: list[Any] = [x.meta.get(LAYOUT) for x in factors if isinstance(x, fx.Node)]
    if len(layouts) != 2 or None in layouts:
        return
    shape, dtype = product.meta[LAYOUT]
    if not dtype.is_floating_point or any(layout[1] != dtype for layout in layouts):
        return
    dims: Any = node.args[1]
    summed = {dim % len(shape) for dim in dims}
    kept = [dim for dim in range(len(shape)) if dim not in summed]
    lengths = [(1,) * (len(shape) - len(layout[0])) + tuple(layout[0]) for layout in layouts]
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
            operands += [node.graph.call_function(aten.reshape.default, (factor, sizes)), axes]
        out = [dim for dim in kept if shape[dim] > 1]
        made = node.graph.call_function(torch.einsum, (*operands, out))
        whole = node.graph.call_function(aten.reshape.default, (made, list(node.meta[LAYOUT][0])))
    whole.meta[LAYOUT] = node.meta[LAYOUT]
    node.replace_all_uses_with(whole)
    node.graph.erase_node(node)
    node.graph.erase_node(product)


def _reuse_memory(node: fx.Node) -> None:
    in_place = _IN_PLACE.get(node.target)
    if node.op != "call_function" or in_place is None or node.kwargs:
        return
    candidates = [0, 1] if node.target in _COMMUTES else [0]
    for position in candidates:
        if position >= len(node.args):
            continue
        value = node.args[position]
        others = [x for i, x in enumerate(node.args) if i != position]
        if isinstance(value, fx.Node) and value not in others and _is_ours(value, node):
            node.target = in_place
            node.args = (value, *others)
            return


def _is_ours(value: fx.Node, user: fx.Node) -> bool:
    """Whether ``value`` has memory of its own that nothing but ``user`` will look at."""
    layout = value.meta.get(LAYOUT)
    if layout is None or layout != user.meta.get(LAYOUT) or len(value.users) != 1:
        return False
    if value.op != "call_function":
        return False
    if isinstance(value.target, RandomOp):
        filled = value.args[1] if value.target.writes((0,)) else None
        if not isinstance(filled, fx.Node):
            return filled is None
        return len(filled.users) == 1 and filled.target is aten.empty.memory_format
    if value.target in _IN_PLACE.values():  # memory taken over before
        return True
    schema = getattr(value.target, "_schema", None)
    return schema is not None and all(r.alias_info is None for r in schema.returns)
