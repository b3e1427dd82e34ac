"""Whether a constant that Python makes anew in each draw may be a drawn number.

``torch.Tensor([k])`` reads a tensor ``k`` in a way that nothing else shows. What it makes holds the
value of ``k``, so a drawn number that is no such ``k`` shows by being another one in some recording
while the constant stays, or by having a value that the constant does not hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.sliced.slicing import DRAW, Slice
from pyro_posterior.sliced.tape import Op

#: Recordings made, at most, to see drawn numbers change.
MOST_RECORDINGS = 8


class Numbers:
    """Values of all tensors of one element that a recording makes, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Any]] = []

    def note(self, op: Op, out: Any) -> None:
        """Look at what an operation has just given."""
        for uid, value in zip(op.outs, tree_flatten(out)[0], strict=True):
            if uid is not None and value.numel() == 1 and value.layout is torch.strided:
                self.seen.append((uid, value.detach().reshape(()).item()))

    def drawn(self, cut: Slice) -> dict[tuple[int, int], Any]:
        """Those that depend on draws, by tensor and by how many values it had before."""
        found, counts = {}, dict[int, int]()
        for uid, value in self.seen:
            counts[uid] = counts.get(uid, -1) + 1
            if cut.level(uid) & DRAW:
                found[uid, counts[uid]] = value
        return found


def rule_out_numbers(
    remade: Mapping[int, torch.Tensor], record: Callable[[int, Numbers], Slice]
) -> list[Slice]:
    """Record until every drawn number whose value such a constant holds has been another one.

    Parameters
    ----------
    remade
        The constants, by number on the tape.
    record
        Of how-manieth recording it is, and where numbers go, the slice.

    Raises
    ------
    CannotSliceError
        A drawn number was always the same, and a constant holds it.
    """
    suspects: dict[tuple[int, int], Any] | None = None
    cuts: list[Slice] = []
    for turn in range(MOST_RECORDINGS):
        numbers = Numbers()
        cuts.append(record(turn, numbers))
        drawn = numbers.drawn(cuts[-1])
        if suspects is None:
            suspects = {where: x for where, x in drawn.items() if _held(where[0], x, remade)}
        suspects = {where: x for where, x in suspects.items() if drawn.get(where, x) == x}
        if not suspects:
            return cuts
    value = next(iter((suspects or {}).values()))
    raise CannotSliceError(
        f"a constant that Python makes anew holds {value}, and so does a draw, in all recordings: "
        "it may be made of it (torch.Tensor([k])); write torch.stack or torch.tensor"
    )


def _held(number: int, value: Any, constants: Mapping[int, torch.Tensor]) -> bool:
    """Whether a constant that came up after tensor ``number`` holds its value."""
    for uid, constant in constants.items():
        if uid < number:
            continue
        given = torch.tensor(value).to(constant.dtype)
        if bool((constant == given).any()):
            return True
    return False
