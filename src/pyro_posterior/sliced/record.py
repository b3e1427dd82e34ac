"""Stage 1, recording: one keyed draw of guide and model, run as ever, every operation noted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from pyro import poutine
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler, no_validation
from pyro_posterior.keyed.keys import Where
from pyro_posterior.keyed.modes import KeyedDraws, KeyNamer
from pyro_posterior.keyed.rules import is_random
from pyro_posterior.keyed.state import random_states
from pyro_posterior.sliced.later import Awake, Later
from pyro_posterior.sliced.leaks import LeakWatch, check_outside, hidden_effect
from pyro_posterior.sliced.lines import calling_line
from pyro_posterior.sliced.moved import StatesMoved, unless_others_moved_them
from pyro_posterior.sliced.numbers import Numbers
from pyro_posterior.sliced.skips import OtherCourse, Skips
from pyro_posterior.sliced.standins import fill_stand_ins
from pyro_posterior.sliced.tape import Op, Record, Tape
from pyro_posterior.sliced.tensors import is_strided, written
from pyro_posterior.sliced.unseen import watched

aten = torch.ops.aten


class _Recorder(KeyedDraws):
    """Keyed draws that also go on a tape."""

    def __init__(
        self,
        tape: Tape,
        namer: KeyNamer,
        where: Where,
        skips: Skips | None,
        later: Later | None,
    ) -> None:
        super().__init__(namer, where)
        self.tape, self.namer, self.where = tape, namer, where
        self._skips, self._later = skips, later
        self.empty: set[int] = set()  # storages of what was skipped
        self.missed = False  # something skipped was needed
        self.numbers: Numbers | None = None  # told of results

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch._C._len_torch_function_stack():  # TorchScript, of which no function mode is told
            with torch._C.DisableTorchFunction():
                return self._noted(func, args, kwargs or {})
        return self._noted(func, args, kwargs or {})

    def _noted(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operation gives; it is on the tape then."""
        tape = self.tape
        if hidden := hidden_effect(func, args):
            raise tape.refuse(hidden)
        if func is aten.lift_fresh.default:  # a literal: a fresh copy in every replay
            out = args[0].clone()
            tape.add(aten.clone.default, args, kwargs, out)
            if tape.begun:  # ``torch.Tensor([x])`` reads x without being one
                tape.literals.add(tape.uid(args[0]))
            return out
        if func is aten.detach.default and tape.is_second_handle(args[0]):
            out = func(*args)
            tape.same(out, args[0])
            return out
        targets = written(func, args, kwargs)
        for target in targets:
            if not is_strided(target):
                raise tape.refuse(f"{func} writes to a sparse tensor ({calling_line()})")
            if tape.storage[tape.uid(target)] not in tape.made:
                raise tape.refuse(
                    f"{func} writes to a tensor of shape {tuple(target.shape)} that lives outside "
                    f"the model's run, a buffer or the data ({calling_line()})"
                )
        draws = is_random(func, args, kwargs)
        if draws and "out" in kwargs:
            raise tape.refuse(f"{func} draws into a tensor given as out= ({calling_line()})")
        key = self.namer.next_key() if draws else None
        position = len(tape.ops)
        if self._skips is not None and self._skips.skips(position, func):
            out = self._skips.stand_in(position, targets[0] if targets else None)
            op = tape.add(func, args, kwargs, out, key)
            self.empty.update(tape.storage[uid] for uid in op.outs if uid is not None)
            return out
        if self._later is not None:
            if key is None and (out := self._later.put_off(func, args, kwargs)) is not None:
                tape.add(func, args, kwargs, out)
                return out
            self._later.before(func, args, kwargs)
        out = func(*args, **kwargs) if key is None else self.draw(func, key, args, kwargs)
        op = tape.add(func, args, kwargs, out, key)
        if self.empty:
            self._check_full(op)
        if self.numbers is not None:
            self.numbers.note(op, out)
        if op.read is not None:
            op.line = calling_line()
        return out

    def looked_at(self, tensor: torch.Tensor) -> None:
        """Raise where Python reads something that was not run; compute what was put off."""
        if self._later is not None:
            self._later.before_a_change(tensor)
        if self.tape.storage[self.tape.uid(tensor)] in self.empty:
            self.missed = True
            raise OtherCourse

    def _check_full(self, op: Op) -> None:
        """Raise where an operation that was run took something that was not."""
        storage = self.tape.storage
        taken = {storage[uid] for uid in op.ins} & self.empty
        made = {storage[uid] for uid in op.outs if uid is not None}
        if taken and not (made and made <= taken):  # more than a view
            self.missed = True
            raise OtherCourse


Traces = tuple[poutine.Trace, poutine.Trace]
Found = TypeVar("Found")


def record(
    sampler: JointSampler,
    minibatch: Minibatch,
    draw: int,
    names: tuple[str, ...],
    skips: Skips | None = None,
    numbers: Numbers | None = None,
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
    numbers
        Told of the result of every operation; nothing is skipped then.

    Raises
    ------
    CannotSliceError
        The draw wrote to tensors from outside or used random numbers that have no key.
    """

    def run() -> Record:
        if skips is not None and numbers is None:
            recorder = _recorder(sampler, minibatch, draw, skips)
            try:
                return _record(sampler, minibatch, recorder, names)[0]
            except OtherCourse:
                pass
            finally:
                fill_stand_ins(recorder.tape, recorder.empty, recorder.where)
        recorder = _recorder(sampler, minibatch, draw, None)
        recorder.numbers = numbers
        return _record(sampler, minibatch, recorder, names)[0]

    return unless_others_moved_them(run)


@dataclass
class First:
    """A record of draw 0 with all sites, and its traces for as long as nobody has read them."""

    record: Record
    _traces: Traces | None
    _later: Later
    _where: Where

    def read(self, use: Callable[[Record, Traces], Found]) -> Found:
        """What ``use(record, traces)`` gives, which keeps no large tensor of theirs; once."""
        assert self._traces is not None
        with Awake(self._later):
            found = use(self.record, self._traces)
        self._traces = None
        _fill(self.record.tape, self._later, self._where)
        return found


def record_first(sampler: JointSampler, minibatch: Minibatch) -> First:
    """Record draw 0 before anything is known of it; large results are computed where they are read.

    It shows the course of the draw. Its numbers are no draw of the run where keys depend on which
    sites are local, which only the traces tell.

    Raises
    ------
    CannotSliceError
        As `record`.
    """

    def run() -> First:
        later = Later()
        recorder = _recorder(sampler, minibatch, 0, None, later)
        try:
            found, traces = _record(sampler, minibatch, recorder, None)
        except Exception:
            _fill(recorder.tape, later, recorder.where)
            raise
        found.values.clear()
        return First(found, traces, later, recorder.where)

    return unless_others_moved_them(run)


def _fill(tape: Tape, later: Later, where: Where) -> None:
    """Compute what was put off and somebody still holds, be it a cache of the model's."""
    empty = {tape.storage[tape.uid(tensor)] for tensor in later.forget()}
    fill_stand_ins(tape, empty, where)


def _recorder(
    sampler: JointSampler,
    minibatch: Minibatch,
    draw: int,
    skips: Skips | None,
    later: Later | None = None,
) -> _Recorder:
    tape = Tape()
    for value in tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]:
        if isinstance(value, torch.Tensor):
            if value.layout is not torch.strided:
                raise CannotSliceError(f"an argument has layout {value.layout}")
            if tape.known(value) is None:  # the same tensor may be given twice
                tape.add_input(value)
    where = sampler.where(range(draw, draw + 1), minibatch.index)
    return _Recorder(tape, sampler.namer(), where, skips, later)


def _record(
    sampler: JointSampler,
    minibatch: Minibatch,
    recorder: _Recorder,
    names: tuple[str, ...] | None,
) -> tuple[Record, Traces]:
    sampler.seed_python(recorder.where.draws.start, minibatch)
    tape, before = recorder.tape, random_states()
    watch = LeakWatch(tape, recorder.looked_at)
    with watched(watch.note), torch.inference_mode(False), no_validation():
        with recorder.namer, recorder, watch:
            guide_trace, trace = sampler.run(minibatch)
    if tape.refused:
        raise CannotSliceError(tape.refused)
    tape.check_copies()
    if names is None:
        names = tuple(name for name, node in trace.nodes.items() if node["type"] == "sample")
    values = {name: torch.as_tensor(trace.nodes[name]["value"]) for name in names}
    after = random_states()
    check_outside(tape)
    outputs = {name: tape.uid(value) for name, value in values.items()}
    if recorder.missed or recorder.empty & {tape.storage[uid] for uid in outputs.values()}:
        raise OtherCourse
    made = Record(tape, recorder.where.draws.start, minibatch, values, outputs)
    if after != before:
        raise StatesMoved(made, before, after)
    return made, (guide_trace, trace)
