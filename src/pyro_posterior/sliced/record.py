"""Stage 1, recording: one keyed draw of guide and model, run as ever, every operation noted."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import torch
from pyro import poutine
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
from pyro_posterior.sliced.skips import OtherCourse, Skips
from pyro_posterior.sliced.tape import Leak, Op, Record, Tape, written

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
    "storage_offset",
    "untyped_storage",
    "storage",
}

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

_BATCH_NORMS = {"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}


class _Recorder(KeyedDraws):
    """Keyed draws that also go on a tape."""

    def __init__(
        self,
        tape: Tape,
        namer: KeyNamer,
        seed: int,
        draw: int,
        minibatch: int,
        skips: Skips | None,
    ) -> None:
        super().__init__(namer, seed, draw, minibatch)
        self._tape = tape
        self._skips = skips
        self.empty: set[int] = set()  # storages of what was skipped
        self.missed = False  # something skipped was needed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        tape = self._tape
        _refuse_the_hidden(func, args)
        if func is aten.lift_fresh.default:  # a literal: a fresh copy in every replay
            out = args[0].clone()
            tape.add(aten.clone.default, args, kwargs, out)
            if tape.seen_functions:  # ``torch.Tensor([x])`` reads x without being one
                tape.literals.add(tape.uid(args[0]))
            return out
        targets = written(func, args)
        for target in targets:
            if tape.storage[tape.uid(target)] not in tape.made:
                raise CannotSliceError(
                    f"{func} writes to a tensor of shape {tuple(target.shape)} that lives outside "
                    f"the model's run, a buffer or the data ({calling_line()})"
                )
        draws = is_random(func) and not draws_nothing(func, args)
        key = self._namer.next_key() if draws else None
        position = len(tape.ops)
        if self._skips is not None and self._skips.skips(position, func):
            out = self._skips.stand_in(position, targets[0] if targets else None)
            op = tape.add(func, args, kwargs, out, key)
            self.empty.update(tape.storage[uid] for uid in op.outs if uid is not None)
            return out
        out = func(*args, **kwargs) if key is None else self.draw(func, key, args, kwargs)
        op = tape.add(func, args, kwargs, out, key)
        if self.empty:
            self._check_full(op)
        if op.read is not None:
            op.line = calling_line()
        return out

    def _check_full(self, op: Op) -> None:
        """Raise where an operation that was run took something that was not."""
        storage = self._tape.storage
        taken = {storage[uid] for uid in op.ins} & self.empty
        made = {storage[uid] for uid in op.outs if uid is not None}
        if taken and not (made and made <= taken):  # more than a view
            self.missed = True
            raise OtherCourse


# ``tensor.data``, as torch hands it to a function mode.
_READ_DATA: Any = vars(torch._C.TensorBase)["data"].__get__


class _LeakWatch(TorchFunctionMode):
    """Notes reads that bypass dispatch, and rewrites two functions that read values needlessly."""

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self._tape = tape

    def _note(self, name: str, tensor: torch.Tensor) -> None:
        tape = self._tape
        value = tensor.detach().clone()
        leak = Op(Leak(name), (), {}, (tape.uid(tensor),), (), None, (), None, (value,))
        leak.line = calling_line()
        tape.ops.append(leak)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if func == _READ_DATA:  # shares memory behind dispatch's back
            return args[0].detach()
        if name == "__deepcopy__" and type(args[0]) is torch.Tensor:  # copies memory unseen
            return args[1].setdefault(id(args[0]), args[0].detach().clone())
        if name == "new_tensor" and len(args) > 1:
            for value in tree_flatten(args[1])[0]:
                if isinstance(value, torch.Tensor):
                    self._note(name, value)
        elif name in _LEAKS and args and isinstance(args[0], torch.Tensor):
            self._note(name, args[0])
        elif func in _CONVERSIONS and args and _holds_tensors(args[0]):
            if func is not torch.tensor and isinstance(args[0], torch.Tensor):
                return func(*args, **kwargs)
            made = _stacked(args[0], args[0])
            wanted = {k: v for k, v in kwargs.items() if k in ("dtype", "device") and v is not None}
            return made.to(**wanted) if wanted else made
        elif func is torch.nn.functional.one_hot:
            return _one_hot(*args, **kwargs)
        before = len(self._tape.ops)
        self._tape.seen_functions += 1
        try:
            out = func(*args, **kwargs)
        finally:
            self._tape.seen_functions -= 1
        if len(self._tape.ops) > before and name not in _SHAPE_ONLY:
            self._note_unseen(name, before, args[1:] if name.startswith("new_") else args, kwargs)
        return out

    def _note_unseen(self, name: str, before: int, args: Any, kwargs: Any) -> None:
        """One-element tensors that no operation took were turned into numbers on the way."""
        seen = {uid for op in self._tape.ops[before:] for uid in op.ins}
        for value in tree_flatten((args, kwargs))[0]:
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                continue
            if self._tape.uid(value) not in seen:
                self._note(name, value)


_CONVERSIONS = (torch.tensor, torch.as_tensor, torch.asarray)


def _holds_tensors(data: Any) -> bool:
    return any(isinstance(x, torch.Tensor) for x in tree_flatten(data)[0])


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
    """As torch's, without its range check, which reads the values."""
    if num_classes < 1:
        return torch.nn.functional.one_hot(tensor, num_classes)
    steps = torch.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == steps).long()


def _refuse_the_hidden(func: Any, args: tuple[Any, ...]) -> None:
    """What no schema shows: running statistics that batch norm changes, offsets of other memory."""
    name = str(func._schema.name).split("::")[1]
    if name == "as_strided" and len(args) > 3 and args[3]:
        raise CannotSliceError(
            f"as_strided reads a tensor's memory at a place of its own ({calling_line()})"
        )
    if name in _BATCH_NORMS and args[5] and args[3] is not None:
        raise CannotSliceError(
            f"a batch norm in training mode changes its running statistics ({calling_line()})"
        )


_MACHINERY = ("/torch/", "/pyro/", "/pyro_posterior/sliced/", "/pyro_posterior/joint.py")


def calling_line() -> str:
    """``file.py:12`` of the innermost frame that is neither torch, Pyro nor the recorder."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if not any(part in path for part in _MACHINERY) and not path.startswith("<"):
            return f"{path.rsplit('/', 1)[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "inside torch or Pyro"


Traces = tuple[poutine.Trace, poutine.Trace]


def record(
    sampler: JointSampler,
    minibatch: Minibatch,
    draw: int,
    names: tuple[str, ...],
    skips: Skips | None = None,
) -> Record:
    """Run draw number ``draw`` and note what it does.

    Parameters
    ----------
    sampler, minibatch, draw
        What is run.
    names
        Sites whose values are kept.
    skips
        What an earlier recording of the same shapes showed to be of no consequence.

    Raises
    ------
    CannotSliceError
        The draw wrote to tensors from outside or used random numbers that have no key.
    """
    if skips is not None:
        with contextlib.suppress(OtherCourse):
            return _record(sampler, minibatch, draw, names, skips)[0]
    return _record(sampler, minibatch, draw, names, None)[0]


def record_first(sampler: JointSampler, minibatch: Minibatch) -> tuple[Record, Traces]:
    """A record of draw 0 with all sites, before anything is known of them, and its traces.

    It shows the course of the draw. Its numbers are no draw of the run where keys depend on which
    sites are local, which only the traces tell.

    Raises
    ------
    CannotSliceError
        As `record`.
    """
    found, traces = _record(sampler, minibatch, 0, None, None)
    found.values.clear()
    return found, traces


def _record(
    sampler: JointSampler,
    minibatch: Minibatch,
    draw: int,
    names: tuple[str, ...] | None,
    skips: Skips | None,
) -> tuple[Record, Traces]:
    tape = Tape()
    leaves = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
    for value in leaves:
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided:
                raise CannotSliceError(f"an argument has layout {value.layout}")
            if tape.known(value) is None:  # the same tensor may be given twice
                tape.add_input(value)
    before = random_states()
    namer = sampler.namer()
    recorder = _Recorder(tape, namer, sampler.seed, draw, minibatch.index, skips)
    with torch.inference_mode(False), no_validation(), namer, recorder, _LeakWatch(tape):
        guide_trace, trace = sampler.run(minibatch)
    if names is None:
        names = tuple(name for name, node in trace.nodes.items() if node["type"] == "sample")
    values = {name: torch.as_tensor(trace.nodes[name]["value"]) for name in names}
    if random_states() != before:
        raise CannotSliceError(
            "the model or guide draws from Python's, NumPy's or an unseen torch random state"
        )
    for uid, version in tape.versions.items():
        if tape.leaves[uid]._version != version:
            raise CannotSliceError(
                f"a tensor of shape {tuple(tape.leaves[uid].shape)} that lives outside the model's "
                "run, a buffer or the data, changed in place"
            )
    outputs = {name: tape.uid(value) for name, value in values.items()}
    if recorder.missed or recorder.empty & {tape.storage[uid] for uid in outputs.values()}:
        raise OtherCourse
    return Record(tape, draw, minibatch, values, outputs), (guide_trace, trace)
