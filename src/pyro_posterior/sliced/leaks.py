"""Reads and writes that torch's dispatch does not see: noted with their values, or refused."""

from __future__ import annotations

import functools
import operator
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.keyed.modes import changes_statistics
from pyro_posterior.sliced.lines import calling_line
from pyro_posterior.sliced.masks import is_mask, picked_by_numbers
from pyro_posterior.sliced.same import equal_values
from pyro_posterior.sliced.signature import content_of
from pyro_posterior.sliced.tape import Op, Ref, Tape
from pyro_posterior.sliced.tensors import Leak, tensors_in

# Ways in which Python sees a tensor's values without any operation being dispatched, ...
_READS = {"__repr__", "__format__", "__str__", "tolist", "storage_offset", "__reduce_ex__"}

# ... and those that give it the memory itself.
_MEMORY = {
    "numpy",
    "__array__",
    "data_ptr",
    "__dlpack__",
    "untyped_storage",
    "storage",
    "to_dlpack",
}

# Functions that write to a tensor without an operation that shows it.
_HIDDEN_WRITES = {"apply_", "map_", "map2_", "set_", "resize_", "resize_as_", "swap_tensors"}

# Operations after which a tensor has other memory.
_CHANGE_MEMORY = {"set_", "resize_", "resize_as_", "set_data"}

# Functions that take only shape or type of their other tensors, which is no read of values.
_SHAPE_ONLY = {
    "expand_as",
    "view_as",
    "reshape_as",
    "type_as",
    "broadcast_tensors",
    "to",
    "__get__",
    "__set__",
}

# ``tensor.data``, as torch hands it to a function mode.
_READ_DATA: Any = vars(torch._C.TensorBase)["data"].__get__
_WRITE_DATA: Any = vars(torch._C.TensorBase)["data"].__set__

_CONVERSIONS = (torch.tensor, torch.as_tensor, torch.asarray)


class LeakWatch(TorchFunctionMode):
    """Notes reads that bypass dispatch, and rewrites two functions that read values needlessly."""

    def __init__(self, tape: Tape, looked_at: Callable[[torch.Tensor], None]) -> None:
        super().__init__()
        self._tape = tape
        self._looked_at = looked_at  # told of each tensor whose values are read

    def note(self, name: str, tensor: torch.Tensor) -> None:
        """Note that Python reads a tensor through a function of this name."""
        tape = self._tape
        uid = tape.uid(tensor)
        self._looked_at(tensor)
        if name in _MEMORY:
            self._expose(uid)
        leak = Op(Leak(name, name in _MEMORY), (), {}, (uid,), (), None, ())
        with _disable_current_modes(), torch._C.DisableTorchFunction():
            leak.read = (content_of(tensor),)
        leak.line = calling_line()
        tape.ops.append(leak)

    def _expose(self, uid: int) -> None:
        """Note that Python got hold of the memory of a tensor and may write to it unseen."""
        tape = self._tape
        home = tape.storage[uid]
        given = {tape.storage[number] for number in tape.inputs}
        if home in tape.made or home in given or home in tape.exposed:
            return
        tape.exposed.add(home)
        for leaf in tape.leaves:
            if tape.storage[leaf] == home and leaf not in tape.originals:
                tape.hold_values(leaf)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func == _READ_DATA:  # shares memory behind dispatch's back
            return args[0].detach()
        if func == _WRITE_DATA or name in _HIDDEN_WRITES:
            what = ".data =" if func == _WRITE_DATA else name
            raise self._tape.refuse(
                f"{what} changes a tensor in a way that leaves no trace ({calling_line()})"
            )
        if name == "__deepcopy__" and type(args[0]) is torch.Tensor:  # copies memory unseen
            return args[1].setdefault(id(args[0]), args[0].detach().clone())
        if name == "new_tensor" and len(args) > 1:
            for value in tensors_in(args[1]):
                self.note(name, value)
        elif name in _READS | _MEMORY and args and _is_plain(args[0]):
            self.note(name, args[0])
        elif func in _CONVERSIONS and args and _holds_tensors(args[0]):
            if func is not torch.tensor and isinstance(args[0], torch.Tensor):
                return func(*args, **kwargs)
            made = _stacked(args[0], args[0])
            wanted = {k: v for k, v in kwargs.items() if k in ("dtype", "device") and v is not None}
            return made.to(**wanted) if wanted else made
        elif func is torch.nn.functional.one_hot:
            return _one_hot(*args, **kwargs)
        elif func is torch.bincount and (counted := _bincount(*args, **kwargs)) is not None:
            return counted
        elif name == "masked_select" and len(args) == 2 and not kwargs:
            return operator.getitem(*torch.broadcast_tensors(*args))
        elif name == "__getitem__" and (picked := picked_by_numbers(*args)) is not None:
            self._tape.copied.append((len(self._tape.ops), picked, args[0]))
            return picked
        elif name == "__setitem__" and (moved := self._moved_by_mask(*args)) is not None:
            return moved
        before = len(self._tape.ops)
        self._tape.begun.append(before)
        try:
            out = func(*args, **kwargs)
        finally:
            self._tape.begun.pop()
        if len(self._tape.ops) > before and name not in _SHAPE_ONLY:
            self._note_unseen(
                name, before, args[1:] if name == "new" or name.startswith("new_") else args, kwargs
            )
        return out

    def _moved_by_mask(self, target: torch.Tensor, mask: Any, value: Any) -> torch.Tensor | None:
        """``target[mask] = source[mask]`` as a choice between the two, whatever the mask.

        Only where the values in between were made by the operation before and no variable holds
        them, so that nothing but this statement has seen how many there are.
        """
        tape = self._tape
        if not (is_mask(mask) and _is_plain(value) and len(tape.ops) > 1):
            return None
        count, pick = tape.ops[-2:]
        picks = pick.func is torch.ops.aten.index.Tensor and pick.outs == (tape.known(value),)
        if not picks or pick.args[1] != [Ref(tape.known(mask) or 0)] or count.read is None:
            return None
        source = self._alive(pick.args[0].uid)
        if source is None or source.shape != target.shape or mask.shape != target.shape:
            return None
        for _ in range(10):  # a profiler in another thread holds frames, but not for long
            if sys.getrefcount(value) <= _references_to_a_temporary():
                break
            time.sleep(0.001)
        else:
            return None
        del tape.ops[-2:]
        return target.copy_(torch.where(mask, source, target))

    def _alive(self, uid: int) -> torch.Tensor | None:
        held = self._tape.alive(self._tape.storage[uid])
        return next((x for number, x in held if number == uid), None)

    def _note_unseen(self, name: str, before: int, args: Any, kwargs: Any) -> None:
        """Tensors that no operation took were read on the way: numbers, lengths, boundaries."""
        seen = {uid for op in self._tape.ops[before:] for uid in op.ins}
        for value in tensors_in((args, kwargs)):
            if not _is_plain(value) or (value.is_floating_point() and value.numel() != 1):
                continue
            if self._tape.uid(value) not in seen:
                self.note(name, value)


class _CountReferences(TorchFunctionMode):
    """As `LeakWatch` sees it: how many references there are to a value that no variable holds."""

    found = 0

    def _count(self, target: torch.Tensor, mask: Any, value: Any) -> None:
        self.found = sys.getrefcount(value)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.__setitem__:
            return self._count(*args)
        return func(*args, **(kwargs or {}))


@functools.cache
def _references_to_a_temporary() -> int:
    target, mask = torch.zeros(1), torch.ones(1, dtype=torch.bool)
    with _disable_current_modes(), _CountReferences() as counting:
        target[mask] = target[mask]
    return counting.found


def _is_plain(value: Any) -> bool:
    """A tensor with memory of its own, not one that stands for a batch inside ``torch.vmap``."""
    if not isinstance(value, torch.Tensor):
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(value)


def _holds_tensors(data: Any) -> bool:
    return next(tensors_in(data), None) is not None


def _stacked(data: Any, whole: Any) -> torch.Tensor:
    """``torch.tensor`` of nested lists with tensors in them, as operations."""
    if isinstance(data, torch.Tensor):
        return data.detach().clone() if data is whole else data.detach().reshape(())
    if isinstance(data, list | tuple):
        parts = [_stacked(part, whole) for part in data]
        dtype = parts[0].dtype
        for part in parts[1:]:
            dtype = torch.promote_types(dtype, part.dtype)
        return torch.stack([part.to(dtype) for part in parts])
    return torch.tensor(data)


def _one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
    """As torch's, whose range check reads the values; here it is left to ``scatter``."""
    if num_classes < 1:
        return torch.nn.functional.one_hot(tensor, num_classes)
    zeros = torch.zeros((*tensor.shape, num_classes), dtype=torch.long, device=tensor.device)
    return zeros.scatter(-1, tensor.unsqueeze(-1), 1)


def _bincount(
    values: torch.Tensor, weights: torch.Tensor | None = None, minlength: int = 0
) -> torch.Tensor | None:
    """As torch's where no value reaches ``minlength``, which ``scatter_add`` checks; else None."""
    with _disable_current_modes():
        fits = bool((values < minlength).all())
    if not fits:
        return None
    if weights is None:
        weights = torch.ones(values.shape, dtype=torch.long, device=values.device)
    elif weights.dtype != torch.float32:
        weights = weights.double()
    zeros = torch.zeros(minlength, dtype=weights.dtype, device=values.device)
    return zeros.scatter_add(0, values.long(), weights)


def check_outside(tape: Tape) -> None:
    """Raise where what lives outside the model's run is not what it was.

    Raises
    ------
    CannotSliceError
        A version, or a value where Python or others may write unseen, is another.
    """
    for uid, version in tape.versions.items():
        value = tape.leaves[uid]
        leaf = tape.originals.get(uid, value)
        unseen = leaf is not value and not equal_values(leaf.detach(), value)
        if leaf._version != version or unseen:
            raise CannotSliceError(
                f"a tensor of shape {tuple(leaf.shape)} that lives outside the model's run, a buffer "
                "or the data, changed in place"
            )


def hidden_effect(func: Any, args: tuple[Any, ...]) -> str:
    """What no schema shows: running statistics that batch norm changes, offsets of other memory."""
    name = str(func._schema.name).split("::")[1]
    if name == "as_strided" and len(args) > 3 and args[3]:
        return f"as_strided reads a tensor's memory at a place of its own ({calling_line()})"
    if changes_statistics(func, args):
        return f"a batch norm in training mode changes its running statistics ({calling_line()})"
    if name in _CHANGE_MEMORY:
        return f"{func} gives a tensor other memory ({calling_line()})"
    return ""
