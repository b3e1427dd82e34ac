"""Random small graphs, rewritten, give what they give as they were: every alias, stride and dtype."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings

from pyro_posterior.sliced.batching import Taping
from pyro_posterior.sliced.graphs import emit
from pyro_posterior.sliced.slicing import DRAW
from pyro_posterior.sliced.tape import Tape

Step = tuple[str, int, int]

PLAIN: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": operator.add,
    "mul": operator.mul,
    "sub": operator.sub,
    "div": operator.truediv,
    "times one": lambda a, b: a * 1.0,
    "times whole one": lambda a, b: a * 1,
    "plus zero": lambda a, b: a + 0,
    "exp": lambda a, b: a.sigmoid().exp(),
    "neg": lambda a, b: -a,
    "root": lambda a, b: a.abs().sqrt(),
    "tanh": lambda a, b: a.tanh(),
    "reciprocal": lambda a, b: a.reciprocal(),
    "clone": lambda a, b: a.clone(),
    "double": lambda a, b: a.double(),
    "whole": lambda a, b: (a.nan_to_num().clamp(-9, 9) * 3).long(),
}
VIEWS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "transpose": lambda a, b: a.mT if a.dim() > 1 else a.view(a.shape),
    "first": lambda a, b: a[..., :1],
    "flat": lambda a, b: a.reshape(-1),
    "axis": lambda a, b: a.unsqueeze(-1) if a.dim() < 4 else a.view(a.shape),
    "expand": lambda a, b: a.expand(2, *a.shape) if a.dim() < 3 else a.view(a.shape),
    "detach": lambda a, b: a.detach(),
}
WRITES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add_": lambda a, b: a.add_(1),
    "mul_": lambda a, b: a.mul_(2),
    "clamp_": lambda a, b: a.clamp_(max=1),
    "zero_": lambda a, b: a.zero_(),
    "fill first": lambda a, b: a[..., :1].fill_(3),
    "neg_": lambda a, b: a.neg_(),
}
SUMS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "sum of products": lambda a, b: (a * b).sum(-1),
    "outer sum": lambda a, b: (a.unsqueeze(-2) * b.unsqueeze(-3)).sum(-1),
    "inner sum": lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2),
    "sum of two": lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-1)).sum((-1, -2)),
}
ALL = PLAIN | VIEWS | WRITES | SUMS


@st.composite
def inputs(draw: st.DrawFn) -> list[torch.Tensor]:
    """Up to three tensors that broadcast, some transposed, some with an empty or a single axis."""
    rows, columns = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    found = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.sampled_from([(rows, columns), (columns,), (rows, 1), (2, rows, columns)]))
        dtype = draw(st.sampled_from([torch.float32, torch.float32, torch.float64, torch.int64]))
        made = (torch.randn(shape, generator=generator) * 2).to(dtype)
        if draw(st.booleans()):
            made = made.mT.contiguous().mT if made.dim() > 1 else made
        found.append(made)
    return found


steps = st.lists(
    st.tuples(st.sampled_from(list(ALL)), st.integers(0, 20), st.integers(0, 20)),
    min_size=1,
    max_size=12,
)


def run(given_: list[torch.Tensor], how: list[Step]) -> list[torch.Tensor]:
    """The values of a small program; what cannot be done is left out."""
    values = list(given_)
    own: list[bool] = [False] * len(values)  # writes go to memory made by the program alone
    for name, i, j in how:
        a, b = values[i % len(values)], values[j % len(values)]
        if name in WRITES and (not own[i % len(values)] or _overlaps(a)):
            continue
        try:
            made = ALL[name](a, b)
        except (RuntimeError, IndexError):
            continue
        if made.numel() > 500:
            continue
        values.append(made)
        own.append(own[i % len(values[:-1])] if name in VIEWS or name in WRITES else True)
    return values


def _overlaps(x: torch.Tensor) -> bool:
    return any(
        stride == 0 and length > 1 for stride, length in zip(x.stride(), x.shape, strict=True)
    )


def both(given_: list[torch.Tensor], how: list[Step], wanted: int, exact: bool) -> tuple[Any, Any]:
    """Outputs of the graph as it is and rewritten."""
    tape = Tape()
    numbers = [tape.add_input(x) for x in given_]
    with Taping(tape, DRAW):
        values = run(given_, how)
    outputs = sorted({tape.uid(value) for value in values[wanted % len(values) :]})
    ops = [op for op in tape.ops if op.level == DRAW]
    found = []
    for rewrite in (False, True):
        graph = emit(tape, ops, numbers, outputs, takes_where=True, exact=exact, rewrite=rewrite)
        made = graph((0, 0, 0), *(x.clone(memory_format=torch.preserve_format) for x in given_))
        found.append(made)
    return found[0], found[1]


@settings(max_examples=400, deadline=None)
@given(inputs(), steps, st.integers(0, 20), st.booleans())
@example(  # a view of what was left out is a view of the input
    [torch.tensor([3.0])], [("times one", 0, 0), ("transpose", 1, 0), ("add", 0, 2)], 0, False
)
@example(  # a matrix product that is returned, and a view of it that takes part in another
    [torch.tensor([[[3.0]], [[-0.5]]])],
    [("sum of products", 0, 0), ("outer sum", 0, 1), ("outer sum", 0, 2)],
    0,
    False,
)
def test_a_rewritten_graph_gives_the_same(
    given_: list[torch.Tensor], how: list[Step], wanted: int, exact: bool
) -> None:
    plain, rewritten = both(given_, how, wanted, exact)
    for one, other in zip(plain, rewritten, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        if exact:
            assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))
            assert torch.equal(torch.signbit(one), torch.signbit(other))
        else:
            torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4, equal_nan=True)


KINDS: dict[str, list[Step]] = {
    "matrix product": [("outer sum", 0, 0)],
    "taken over": [("exp", 0, 0), ("neg", 1, 0), ("tanh", 2, 0)],
    "nothing changed": [("times one", 0, 0)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_passes_do_something(kind: str) -> None:
    tape, given_ = Tape(), [torch.randn(3, 4)]
    numbers = [tape.add_input(x) for x in given_]
    with Taping(tape, DRAW):
        values = run(given_, KINDS[kind])
    ops = [op for op in tape.ops if op.level == DRAW]
    outputs = [tape.uid(values[-1])]
    codes = [
        emit(tape, ops, numbers, outputs, takes_where=True, exact=False, rewrite=rewrite).code
        for rewrite in (False, True)
    ]
    assert codes[0] != codes[1]
