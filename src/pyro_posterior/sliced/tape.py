"""A tape of ATen operations that knows tensors and storages by numbers and keeps none alive.

Python's ``id`` and a storage's address are used again after a tensor is freed, so both are looked
up through weak references. Values are held only of leaves: tensors no recorded operation made.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.keyed.keys import Key
from pyro_posterior.sliced.lines import calling_line
from pyro_posterior.sliced.masks import masks_of
from pyro_posterior.sliced.spans import Spans
from pyro_posterior.sliced.tensors import (
    LEAF,
    LOOKS_AT_FORM,
    address,
    exchanged,
    is_foreign,
    is_strided,
    shaped_by_values,
    span,
    written,
)


@dataclass(frozen=True)
class Ref:
    """Stands for a tensor in an operation's arguments."""

    uid: int


@dataclass
class Op:
    """One operation, tensors replaced by `Ref`."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ins: tuple[int, ...]
    outs: tuple[int | None, ...]  # flattened; None where an output is no tensor
    out_spec: Any
    writes: tuple[int, ...]  # arguments written in place
    key: Key | None = None  # of a random operation
    read: Any = None  # what Python learnt of tensors here: a value or shapes; None: nothing
    line: str = ""  # "file.py:12" of the code that learnt it
    level: int = 0  # class of the operation, on a tape of batched operations

    @property
    def name(self) -> str:
        """Short name of the operation."""
        return str(getattr(self.func, "_overloadpacket", self.func)).removeprefix("aten.")


@dataclass
class Tape:
    """Operations in the order they ran."""

    ops: list[Op] = field(default_factory=list)
    leaves: dict[int, torch.Tensor] = field(default_factory=dict)
    originals: dict[int, torch.Tensor] = field(default_factory=dict)  # of leaves that are copies
    exposed: set[int] = field(default_factory=set)  # storages that Python may write to unseen
    literals: set[int] = field(default_factory=set)  # leaves that a function made of numbers
    begun: list[int] = field(default_factory=list)  # operations before each function that runs now
    inputs: list[int] = field(default_factory=list)
    storage: dict[int, int] = field(default_factory=dict)  # tensor -> storage
    layouts: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # shape, dtype
    forms: dict[int | None, tuple[Any, ...]] = field(default_factory=dict)  # and stride, device
    made: set[int] = field(default_factory=set)  # storages made by recorded operations
    versions: dict[int, int] = field(default_factory=dict)  # of leaves, when first seen
    nbytes: dict[int, int] = field(default_factory=dict)
    own: bool = False  # a constant lies in an argument's memory: good for this minibatch only
    copied: list[tuple[int, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    refused: str = ""  # why this run cannot be recorded; a model may swallow the exception
    _known: dict[int, tuple[Any, int]] = field(default_factory=dict)
    _addresses: dict[int, int] = field(default_factory=dict)
    _owners: dict[int, list[Any]] = field(default_factory=dict)
    _spans: Spans = field(default_factory=Spans)
    _count: int = 0

    # ------------------------------------------------------------------------------ identities

    def _number(self, tensor: torch.Tensor, storage: int) -> int:
        self._count += 1
        uid = self._count
        self._known[id(tensor)] = (weakref.ref(tensor), uid)
        self._owners.setdefault(storage, []).append(weakref.ref(tensor))
        self.storage[uid] = storage
        self.layouts[uid] = (tuple(tensor.shape), tensor.dtype)
        strides = tensor.stride() if is_strided(tensor) else None
        self.forms[uid] = (tensor.shape, strides, tensor.dtype, tensor.device)
        self.nbytes[uid] = tensor.numel() * tensor.element_size()
        return uid

    def _new_storage(self, tensor: torch.Tensor) -> int:
        self._count += 1
        self._addresses[address(tensor)] = self._count
        self._owners[self._count] = []
        self._spans.add(self._count, *span(tensor), self.alive)
        return self._count

    def alive(self, storage: int) -> list[tuple[int, torch.Tensor]]:
        """The tensors of a storage that somebody still holds, with their numbers."""
        held = (ref() for ref in self._owners[storage])
        return [(self._known[id(x)][1], x) for x in held if x is not None]

    def refuse(self, message: str) -> CannotSliceError:
        """The error to raise; the record fails even where the model swallows it."""
        self.refused = self.refused or message
        return CannotSliceError(message)

    def known(self, tensor: torch.Tensor) -> int | None:
        """Number of a tensor seen before, or None."""
        entry = self._known.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def uid(self, tensor: torch.Tensor) -> int:
        """Number of a tensor; one not seen before is a leaf."""
        known = self.known(tensor)
        if known is not None:
            return known
        storage = self._addresses.get(address(tensor))
        if storage is None or not self.alive(storage):
            storage = self._spans.find(*span(tensor), self.alive)  # made without a trace
        if storage is None:
            storage = self._new_storage(tensor)
        elif storage in self.made or any(self.storage[uid] == storage for uid in self.inputs):
            if (alias := self._alias(tensor, storage)) is not None:
                return alias
            if storage in self.made:
                raise self.refuse(
                    f"a tensor of shape {tuple(tensor.shape)} shares memory with a recorded one in "
                    f"a way that left no trace ({calling_line()})"
                )
            inputs = [self.leaves[uid] for uid in self.inputs if self.storage[uid] == storage]
            self.own = self.own or any(x._base is not tensor for x in inputs)
        uid = self._number(tensor, storage)
        self.leaves[uid] = tensor
        self.versions[uid] = tensor._version
        if storage in self.exposed or is_foreign(tensor):
            self.hold_values(uid)
        return uid

    def hold_values(self, uid: int) -> None:
        """Hold a leaf by its values now, since its memory may change behind torch's back."""
        original = self.originals.setdefault(uid, self.leaves[uid])
        with _disable_current_modes():
            self.leaves[uid] = original.detach().clone()

    def _alias(self, tensor: torch.Tensor, storage: int) -> int | None:
        """Note a tensor that is another one under a new name, such as ``Parameter(x)``."""
        for uid, known in self.alive(storage):
            same = known.shape == tensor.shape and known.stride() == tensor.stride()
            if same and known.dtype == tensor.dtype and known.data_ptr() == tensor.data_ptr():
                made = self._number(tensor, storage)
                alias = torch.ops.aten.alias.default
                op = Op(alias, (Ref(uid),), {}, (uid,), (made,), LEAF, ())
                op.level = max((x.level for x in self.ops if uid in x.outs), default=1)
                self.ops.append(op)
                return made
        return None

    def is_second_handle(self, source: torch.Tensor) -> bool:
        """Whether the function that runs now made a tensor just now and only hands it on.

        torch detaches what its factories have made where something else still holds it, be it a
        profiler in another thread that looks at the frames: the operation comes and goes.
        """
        if not self.begun or len(self.ops) <= self.begun[-1]:
            return False
        uid = self.known(source)
        return uid is not None and self.ops[-1].outs == (uid,)

    def same(self, tensor: torch.Tensor, source: torch.Tensor) -> None:
        """Note that a tensor is another handle of one that is known."""
        uid = self.uid(source)
        self._known[id(tensor)] = (weakref.ref(tensor), uid)
        self._owners[self.storage[uid]].append(weakref.ref(tensor))

    def add_input(self, tensor: torch.Tensor) -> int:
        """A tensor that differs from call to call."""
        uid = self.uid(tensor)
        self.leaves[uid] = self.originals.pop(uid, tensor)
        self.inputs.append(uid)
        return uid

    # --------------------------------------------------------------------------------- recording

    def add(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        key: Key | None = None,
        level: int = 0,
    ) -> Op:
        """Record an operation that has just run."""
        flat: list[torch.Tensor] = []

        def referred(tensor: torch.Tensor) -> Ref:
            flat.append(tensor)
            return Ref(self.uid(tensor))

        ref_args, ref_kwargs = exchanged((args, kwargs), referred)
        ins = tuple(self.uid(x) for x in flat)
        writes = tuple(self.uid(x) for x in written(func, args, kwargs))
        flat_out, out_spec = ([out], LEAF) if isinstance(out, torch.Tensor) else tree_flatten(out)
        by_address = {address(x): x for x in flat}
        outs: list[int | None] = []
        for value in flat_out:
            if not isinstance(value, torch.Tensor):
                outs.append(None)
                continue
            known = self.known(value)
            if known is not None and known in writes:
                outs.append(known)
                continue
            source = by_address.get(address(value))
            if source is not None:
                storage = self.storage[self.uid(source)]
            else:
                storage = self._new_storage(value)
                self.made.add(storage)
            outs.append(self._number(value, storage))
            if source is None:
                by_address[address(value)] = value
        read = None
        if func in LOOKS_AT_FORM:
            pass
        elif any(not isinstance(x, torch.Tensor) and x is not None for x in flat_out):
            read = tuple(x for x in flat_out if x is not None and not isinstance(x, torch.Tensor))
        elif masks := masks_of(func, args):
            for mask in masks:
                self._count_true(mask)
        elif shaped_by_values(func):
            read = tuple(tuple(x.shape) for x in flat_out)
        op = Op(func, ref_args, ref_kwargs, ins, tuple(outs), out_spec, writes, key, read)
        op.level = level
        self.ops.append(op)
        return op

    def check_copies(self) -> None:
        """Raise where a copy that stands for a view, or what it was copied from, is written later.

        Raises
        ------
        CannotSliceError
            The other of the two would have changed too.
        """
        for position, copy, source in self.copied:
            homes = {self.storage[self.uid(copy)], self.storage[self.uid(source)]}
            for op in self.ops[position:]:
                if any(self.storage[uid] in homes for uid in op.writes):
                    raise CannotSliceError(
                        f"{op.func} changes in place what was picked with a number in a tensor"
                    )
        self.copied.clear()

    def _count_true(self, mask: torch.Tensor) -> None:
        """Note that the number of true values of a mask is of consequence."""
        with _disable_current_modes():
            shape = tuple(mask.nonzero().shape)
        uid, where = self.uid(mask), torch.ops.aten.nonzero.default
        op = Op(where, (Ref(uid),), {}, (uid,), (None,), LEAF, (), None, (shape,))
        op.line = calling_line()
        self.ops.append(op)


@dataclass
class Record:
    """What one draw did, and what it gave: the reference the sliced program is held to."""

    tape: Tape
    draw: int
    minibatch: Minibatch
    values: dict[str, torch.Tensor]
    outputs: dict[str, int]  # number on the tape of each site's value
