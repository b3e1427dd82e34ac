"""Rows picked by hand: an index of random numbers that no site drew, into data or a table as long.

Which rows those are differs from draw to draw, so that draws of what is built on them cannot be put
together. `pyro.plate` with ``subsample_size`` is read in `plates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.keyed.keys import FREE
from pyro_posterior.reading.flow import SHAPE_ONLY
from pyro_posterior.sliced.same import equal_values
from pyro_posterior.sliced.tape import Op, Record, Ref

#: Position of the index among the arguments, by operation.
_INDEX = {
    **dict.fromkeys(("index", "_unsafe_index", "index_put", "_index_put_impl", "take", "put"), 1),
    **dict.fromkeys(("embedding", "masked_select", "masked_scatter"), 1),
    **dict.fromkeys(("index_select", "index_copy", "index_add", "index_fill", "gather"), 2),
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), 2),
}

#: Operations whose second argument is the axis that they pick along.
_ALONG = {name for name, position in _INDEX.items() if position == 2} | {"select", "slice"}

#: Operations that pick by plain numbers.
_BY_NUMBER = {"select", "slice", "narrow", "roll", "split", "split_with_sizes"}

_PRODUCTS = {"mm", "bmm", "mv", "addmm", "baddbmm", "dot"}

# What entered a value: an argument, a table or a site's draw, random numbers outside sites (and what
# Python made of them), rows picked with those, zeros with a one in a place of those.
_GIVEN, _TABLE, _RANDOM, _PICKED, _PLACED = 1, 2, 4, 8, 16


@dataclass(frozen=True)
class Picks:
    """What one run picked by hand."""

    sites: frozenset[str] = frozenset()  # that rest on rows picked so
    plates: frozenset[str] = frozenset()  # whose rows are
    lengths: frozenset[int] = frozenset()  # how many were picked


def draws_freely(record: Record) -> bool:
    """Whether anything is drawn outside sites."""
    return any(op.key is not None and op.key.site == FREE for op in record.tape.ops)


def picks_of(record: Record, others: Sequence[Record] = ()) -> Picks:
    """What a recorded run picked by hand.

    Parameters
    ----------
    record
        The run.
    others
        The same draw with other random numbers outside sites, where Python may have had some: a
        number or an array that is another one there comes from them.
    """
    return _Picking(record, others).found()


class _Picking:
    def __init__(self, record: Record, others: Sequence[Record]) -> None:
        self._tape = tape = record.tape
        self._record = record
        self._lengths: set[int] = set()
        given = [tape.leaves[uid] for uid in tape.inputs]
        self._long = {length for x in given for length in x.shape} - {1}
        self._bits = {tape.storage[uid]: _TABLE for uid in tape.leaves if uid not in tape.literals}
        for uid in tape.inputs:
            self._bits[tape.storage[uid]] = _GIVEN
        self._moved: set[int] = set()  # operations with other numbers in the other runs
        for other in others:
            for uid, leaf in _differing(record, other, self._moved):
                picked = any(_is_among(tape.leaves[uid], leaf, x) for x in (*given, leaf))
                self._bits[tape.storage[uid]] = _RANDOM | (_PICKED if picked else 0)
                if picked:
                    self._lengths.update(tape.leaves[uid].shape[:1])

    def found(self) -> Picks:
        before = None
        while before != self._bits:
            before = dict(self._bits)
            for position, op in enumerate(self._tape.ops):
                made = self._made_by(position, op)
                for target in (*op.outs, *op.writes):
                    if target is not None and made:
                        home = self._tape.storage[target]
                        self._bits[home] = self._bits.get(home, 0) | made
        outputs = {name: self._of([uid]) for name, uid in self._record.outputs.items()}
        return Picks(
            frozenset(name for name, bits in outputs.items() if bits & _PICKED),
            frozenset(name for name, bits in outputs.items() if bits & _RANDOM),
            frozenset(self._lengths),
        )

    def _of(self, uids: Iterable[int]) -> int:
        found = 0
        for uid in uids:
            found |= self._bits.get(self._tape.storage[uid], 0)
        return found

    def _made_by(self, position: int, op: Op) -> int:
        name = op.name.rstrip("_")
        if op.key is not None:
            return _RANDOM if op.key.site == FREE else _TABLE | self._of(op.ins)
        if op.name in SHAPE_ONLY:
            return 0
        found = self._of(op.ins)
        if name in _INDEX and len(op.args) > _INDEX[name]:
            index = _uids(op.args[_INDEX[name]])
            source = self._of(set(op.ins) - set(index))
            if self._of(index) & _RANDOM:
                found |= self._picking(op, name, source) or _PLACED
        elif position in self._moved:
            found |= self._picking(op, name, found)
        elif name in _PRODUCTS and found & _PLACED:
            for one, other in zip(op.ins, op.ins[::-1], strict=True):
                placed = self._of([one]) & _PLACED and self._of([other]) & _GIVEN
                if placed and set(self._tape.layouts[other][0][-2:]) & self._long:
                    found |= _PICKED
                    self._add_lengths(op)
        return found

    def _picking(self, op: Op, name: str, source: int) -> int:
        """`_PICKED` where rows of something as long as the data are picked."""
        shape = self._tape.layouts[op.ins[0]][0] if op.ins else ()
        axes = set(range(len(shape)))
        if name in _ALONG:
            axes = {op.args[1] % len(shape)} if len(op.args) > 1 and shape else {0} & axes
        elif name in ("index", "_unsafe_index", "index_put", "_index_put_impl"):
            axes &= {
                axis
                for axis, part in enumerate(op.args[1])
                if isinstance(part, Ref) and self._of([part.uid]) & _RANDOM
            }
        if not source & (_GIVEN | _TABLE) or not {shape[axis] for axis in axes} & self._long:
            return 0
        self._add_lengths(op)
        return _PICKED

    def _add_lengths(self, op: Op) -> None:
        for uid in op.outs:
            if uid is not None:
                self._lengths.update(self._tape.layouts[uid][0])


def _uids(value: object) -> list[int]:
    return [part.uid for part in tree_flatten(value)[0] if isinstance(part, Ref)]


def _differing(one: Record, other: Record, moved: set[int]) -> Iterator[tuple[int, torch.Tensor]]:
    """Constants with other values in the other run, as far as both do the same, and those values.

    Positions of operations that pick by other numbers are put into ``moved``.
    """
    seen: set[int] = set()
    for position, (a, b) in enumerate(zip(one.tape.ops, other.tape.ops, strict=False)):
        parts, others = (tree_flatten((op.args, op.kwargs))[0] for op in (a, b))
        if a.name != b.name or len(parts) != len(others):
            return
        for x, y in zip(parts, others, strict=True):
            if not isinstance(x, Ref) or not isinstance(y, Ref):
                if a.name in _BY_NUMBER and x != y:
                    moved.add(position)
            elif x.uid not in seen and x.uid in one.tape.leaves:
                seen.add(x.uid)
                theirs = other.tape.leaves.get(y.uid)
                if theirs is not None and not equal_values(one.tape.leaves[x.uid], theirs):
                    yield x.uid, theirs


def _is_among(values: torch.Tensor, others: torch.Tensor, pool: torch.Tensor) -> bool:
    """Whether numbers, other ones in another run, were taken out of a pool, not there by chance."""
    if not values.is_floating_point() or not pool.is_floating_point() or not values.numel():
        return False
    there = torch.isin(values.double(), pool.double())
    whole = values == values.round()
    several = len(torch.cat([values.flatten(), others.flatten()]).unique()) > 2  # no coin
    return several and (bool(there.all()) or bool((there & ~whole).any()))
