"""Rewritten graphs give what the plain ones give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx

from pyro_posterior.sliced.simplify import FORM, MEMORY, simplify

aten = torch.ops.aten


def _know(node: fx.Node, shape: tuple[int, ...]) -> None:
    node.meta[FORM] = (shape, torch.empty(shape).stride(), torch.float32, torch.device("cpu"))
    node.meta[MEMORY] = id(node)


def _graph(
    shapes: list[tuple[int, ...]], dims: list[int], between: bool = False, exact: bool = False
) -> Any:
    """``(a * b).sum(dims)``, and with ``between`` a write to ``a`` before the sum."""
    graph, root = fx.Graph(), torch.nn.Module()
    inputs = [graph.placeholder(f"in{i}") for i in range(2)]
    for node, shape in zip(inputs, shapes, strict=True):
        _know(node, shape)
    product = graph.call_function(aten.mul.Tensor, tuple(inputs))
    whole = tuple(torch.broadcast_shapes(*shapes))
    _know(product, whole)
    if between:
        graph.call_function(aten.zero_.default, (inputs[0],))
    total = graph.call_function(aten.sum.dim_IntList, (product, dims))
    left = tuple(n for i, n in enumerate(whole) if i not in {d % len(whole) for d in dims})
    _know(total, left)
    graph.output(total)
    simplify(graph, exact=exact)
    return fx.GraphModule(root, graph)


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ([(20, 300), (8, 1, 300)], [2]),
        ([(20, 300), (8, 1, 300)], [-1]),
        ([(4, 5, 1, 300), (4, 1, 6, 300)], [3]),
        ([(4, 5, 1, 7, 300), (4, 1, 6, 7, 300)], [3, 4]),
        ([(5, 7, 1), (5, 1, 9)], [0]),
    ],
)
@pytest.mark.parametrize("between", [False, True])
def test_a_sum_of_products_is_a_matrix_product(
    shapes: list[tuple[int, ...]], dims: list[int], between: bool
) -> None:
    graph = _graph(shapes, dims, between)
    assert "einsum" in graph.code
    a, b = (torch.randn(shape) for shape in shapes)
    expected = (a * b).sum(dims)
    torch.testing.assert_close(graph(a, b), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("shapes", "dims"),
    [
        ([(8, 20, 300), (20, 300)], [2]),  # the product is as large as a factor
        ([(8, 20, 300), (8, 20, 1)], [2]),  # summed over what one factor does not have
        ([(20, 300), (8, 1, 300)], []),  # a sum over everything
    ],
)
def test_others_are_left_alone(shapes: list[tuple[int, ...]], dims: list[int]) -> None:
    assert "einsum" not in _graph(shapes, dims).code


def test_one_draw_at_a_time_keeps_every_bit() -> None:
    assert "einsum" not in _graph([(20, 300), (8, 1, 300)], [2], exact=True).code
