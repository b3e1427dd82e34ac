"""Stage 1, recording: one keyed draw of guide and model, run as ever, every operation noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler, no_validation
from pyro_posterior.randomness import (
    KeyedDraws,
    KeyNamer,
    draws_nothing,
    is_random,
    random_states,
)
from pyro_posterior.sliced.tape import Op, Tape, written

aten = torch.ops.aten

# Ways in which Python sees a tensor's values without any operation being dispatched.
_LEAKS = {
    "__repr__",
    "__format__",
    "__str__",
    "numpy",
    "tolist",
    "__array__",
    "data_ptr",
    "__dlpack__",
    "untyped_storage",
}


@dataclass
class Record:
    """What one draw did, and what it gave: the reference the sliced program is held to."""

    tape: Tape
    draw: int
    minibatch: Minibatch
    values: dict[str, torch.Tensor]
    outputs: dict[str, int]  # number on the tape of each site's value


class Leak:
    """Stands for a function through which Python read a tensor unseen."""

    tags = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class _Recorder(KeyedDraws):
    """Keyed draws that also go on a tape."""

    def __init__(self, tape: Tape, namer: KeyNamer, seed: int, draw: int, minibatch: int) -> None:
        super().__init__(namer, seed, draw, minibatch)
        self._tape = tape

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tape = self._tape
        if func is aten.lift_fresh.default:  # a literal: a fresh copy in every replay
            out = args[0].clone()
            tape.add(aten.clone.default, args, kwargs, out)
            return out
        for target in written(func, args):
            if tape.storage[tape.uid(target)] not in tape.made:
                raise CannotSliceError(f"{func} writes to a tensor from outside the draw")
        key = None
        if is_random(func) and not draws_nothing(func, args):
            key = self._namer.next_key()
            out = self.draw(func, key, args, kwargs)
        else:
            out = func(*args, **kwargs)
        tape.add(func, args, kwargs, out, key)
        return out


class _LeakWatch(TorchFunctionMode):
    """Notes reads that bypass dispatch, and rewrites two functions that read values needlessly."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def _note(self, name: str, tensor: torch.Tensor) -> None:
        tape = self._tape
        value = tensor.detach().clone()
        tape.ops.append(Op(Leak(name), (), {}, (tape.uid(tensor),), (), None, (), None, (value,)))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "new_tensor" and len(args) > 1:
            for value in tree_flatten(args[1])[0]:
                if isinstance(value, torch.Tensor):
                    self._note(name, value)
        elif name in _LEAKS and args and isinstance(args[0], torch.Tensor):
            self._note(name, args[0])
        elif func in (torch.tensor, torch.as_tensor) and args and _holds_tensors(args[0]):
            made = _stacked(args[0])
            wanted = {k: v for k, v in kwargs.items() if k in ("dtype", "device") and v is not None}
            return made.to(**wanted) if wanted else made
        elif func is torch.nn.functional.one_hot:
            classes = args[1] if len(args) > 1 else kwargs.get("num_classes", -1)
            if classes > 0:  # its range check reads values
                steps = torch.arange(classes, device=args[0].device)
                return (args[0].unsqueeze(-1) == steps).long()
        return func(*args, **kwargs)


def _holds_tensors(data: Any) -> bool:
    return any(isinstance(x, torch.Tensor) for x in tree_flatten(data)[0])


def _stacked(data: Any, inner: bool = False) -> torch.Tensor:
    """``torch.tensor`` of nested lists with tensors in them, as operations."""
    if isinstance(data, torch.Tensor):
        return data if inner else data.detach().clone()
    if isinstance(data, list | tuple):
        return torch.stack([_stacked(x, inner=True) for x in data])
    return torch.tensor(data)


def record(
    sampler: JointSampler, minibatch: Minibatch, draw: int, names: tuple[str, ...]
) -> Record:
    """Run draw number ``draw`` and note what it does.

    Raises
    ------
    CannotSliceError
        The draw wrote to tensors from outside or used random numbers that have no key.
    """
    tape = Tape()
    leaves = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
    for value in leaves:
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided:
                raise CannotSliceError(f"an argument has layout {value.layout}")
            tape.add_input(value)
    before = random_states()
    namer = sampler.namer()
    recorder = _Recorder(tape, namer, sampler.seed, draw, minibatch.index)
    with torch.inference_mode(False), no_validation(), namer, recorder, _LeakWatch(tape):
        _, trace = sampler.run(minibatch)
    values = {name: torch.as_tensor(trace.nodes[name]["value"]) for name in names}
    if random_states() != before:
        raise CannotSliceError("the model uses Python's, NumPy's or an unseen torch random state")
    for uid, version in tape.versions.items():
        if tape.leaves[uid]._version != version:
            raise CannotSliceError("a tensor from outside the draw changed in place")
    outputs = {name: tape.uid(value) for name, value in values.items()}
    return Record(tape, draw, minibatch, values, outputs)
