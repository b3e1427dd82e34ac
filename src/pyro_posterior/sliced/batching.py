"""Stage 3, batching: the slice once more on real values, with a draw axis in front.

What depends on draws runs under `torch.vmap`, one operation at a time, and what that does in plain
operations goes on a second tape, each with its level. With ``chunk=None`` nothing is batched: the
second tape is the slice itself, for one draw.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.keyed.keys import Where
from pyro_posterior.keyed.modes import PlainMode
from pyro_posterior.keyed.rules import draw_many, draw_one
from pyro_posterior.sliced.masks import by_positions, is_mask
from pyro_posterior.sliced.slicing import DRAW, Slice
from pyro_posterior.sliced.sparse import product, with_dense
from pyro_posterior.sliced.tape import Op, Ref, Tape

aten = torch.ops.aten
functorch: Any = torch._C._functorch


class RandomOp:
    """A random operation of a chunk (or of one draw), as one callable node of a graph."""

    tags = ()

    def __init__(self, func: Any, key: Any, chunk: int | None) -> None:
        self.func, self.key, self.chunk = func, key, chunk
        self._arguments = func._schema.arguments
        self.__name__ = f"draw_{str(func._schema.name).split('::')[1]}"

    def __repr__(self) -> str:
        return f"{self.__name__}[{self.key.site} #{self.key.count}]"

    def writes(self, args: tuple[Any, ...]) -> list[torch.Tensor]:
        """The tensors that it fills."""
        filled = (x.alias_info is not None and x.alias_info.is_write for x in self._arguments)
        return [value for value, written in zip(args, filled, strict=False) if written]

    def __call__(self, where: Where, *args: Any, **kwargs: Any) -> Any:
        draw = draw_one if self.chunk is None else draw_many
        return draw(self.func, self.key, where, args, kwargs)


@dataclass
class Batched:
    """The slice as plain operations with levels; tensors of level `DRAW` carry the draw axis."""

    tape: Tape
    outputs: dict[str, int]
    drawn: dict[str, bool]  # whether draws enter a site's value
    chunk: int | None
    origin: dict[int, int]  # of constants: their numbers on the tape of the slice


class Taping(PlainMode):
    """Notes on a tape, at one level, what runs inside."""

    def __init__(self, tape: Tape, level: int) -> None:
        super().__init__()
        self._tape, self._level = tape, level

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._tape.add(func, args, kwargs or {}, out, level=self._level)
        return out


def batch_slice(cut: Slice, inputs: list[torch.Tensor], where: Where, chunk: int | None) -> Batched:
    """Run the slice on ``inputs``, batched over ``chunk`` draws, and tape what runs.

    Raises
    ------
    CannotSliceError
        An operation that depends on draws cannot be batched.
    """
    tape = Tape()
    values: dict[int, Any] = {}
    fixed = dict[int, torch.Tensor]()
    for number, tensor in zip(cut.tape.inputs, inputs, strict=True):
        tape.add_input(tensor)
        values[number] = tensor
    last_use = {uid: i for i, op in enumerate(cut.ops) for uid in op.ins}
    keep = set(cut.outputs.values())
    runner = _Runner(cut, tape, values, where, chunk)
    for position, op in enumerate(cut.ops):
        try:
            out = runner.run(op)
        except CannotSliceError:
            raise
        except Exception as error:
            first = str(error).split("\n")[0]
            raise CannotSliceError(f"{op.func} cannot be batched over draws: {first}") from error
        for uid, value in zip(op.outs, tree_flatten(out)[0], strict=True):
            if uid is not None:
                values[uid] = value
                if not cut.level(uid):
                    fixed[uid] = value
        for uid in op.ins:
            if last_use[uid] == position and uid not in keep and uid in values:
                del values[uid]
    outputs, drawn = {}, {}
    for name, uid in cut.outputs.items():
        outputs[name] = tape.uid(values[uid] if uid in values else cut.tape.leaves[uid])
        drawn[name] = bool(cut.level(uid) & DRAW)
    numbers = {id(value): uid for uid, value in (cut.tape.leaves | fixed).items()}
    origin = {uid: numbers[id(x)] for uid, x in tape.leaves.items() if id(x) in numbers}
    return Batched(tape, outputs, drawn, chunk, origin)


@dataclass
class _Runner:
    """Runs one operation of the slice."""

    cut: Slice
    tape: Tape
    values: dict[int, Any]
    where: Where
    chunk: int | None

    def value(self, uid: int) -> torch.Tensor:
        found = self.values.get(uid)
        return self.cut.tape.leaves[uid] if found is None else found

    def plain(self, tree: Any) -> Any:
        return tree_map(lambda x: self.value(x.uid) if isinstance(x, Ref) else x, tree)

    @property
    def size(self) -> int:
        """Length of the draw axis."""
        assert self.chunk is not None
        return self.chunk

    def batched(self, uid: int) -> bool:
        return self.chunk is not None and bool(self.cut.level(uid) & DRAW)

    def run(self, op: Op) -> Any:
        level = self.cut.level_of(op)
        if level == 0:
            return op.func(*self.plain(op.args), **self.plain(op.kwargs))
        taping = Taping(self.tape, level)
        if op.key is not None:
            return self._random(op, level, taping)
        if not level & DRAW or self.chunk is None:
            with taping:
                return op.func(*self.plain(op.args), **self.plain(op.kwargs))
        if not any(self.batched(uid) for uid in op.ins):
            return self._creation(op, taping)
        return self._vmapped(op, taping)

    def _random(self, op: Op, level: int, taping: Taping) -> Any:
        random = RandomOp(op.func, op.key, self.chunk)
        args = op.args
        kwargs = {name: value for name, value in op.kwargs.items() if name != "generator"}
        if self.chunk is not None:
            with taping:  # every tensor gets the draw axis
                args, kwargs = tree_map(
                    lambda x: self._with_axis(x.uid) if isinstance(x, Ref) else x, (args, kwargs)
                )
        else:
            args, kwargs = self.plain(args), self.plain(kwargs)
        out = random(self.where, *args, **kwargs)
        self.tape.add(random, args, kwargs, out, op.key, level)
        return out

    def _with_axis(self, uid: int) -> torch.Tensor:
        value = self.value(uid)
        if self.batched(uid):
            return value
        return value.expand(self.size, *value.shape)

    def _creation(self, op: Op, taping: Taping) -> Any:
        """Makes memory that draws are written to later: make it with the draw axis."""
        with taping:
            if op.func is aten.empty.memory_format:
                return op.func([self.size, *op.args[0]], **self.plain(op.kwargs))
            out = op.func(*self.plain(op.args), **self.plain(op.kwargs))
            return tree_map(
                lambda x: (
                    x.expand(self.size, *x.shape).clone() if isinstance(x, torch.Tensor) else x
                ),
                out,
            )

    def _positions(self, index: Any) -> list[torch.Tensor] | None:
        """Where an index is true, if it is a mask that no draw enters."""
        mask = self.value(index.uid) if isinstance(index, Ref) else index
        if not is_mask(mask) or (isinstance(index, Ref) and self.batched(index.uid)):
            return None
        level = self.cut.level(index.uid) if isinstance(index, Ref) else 0
        with Taping(self.tape, level) if level else contextlib.nullcontext():
            return list(mask.nonzero().unbind(1))

    def _vmapped(self, op: Op, taping: Taping) -> Any:
        args = by_positions(op.func, op.args, self._positions) or op.args
        flat, spec = tree_flatten((args, op.kwargs))
        over = [i for i, x in enumerate(flat) if isinstance(x, Ref) and self.batched(x.uid)]
        fixed = [self.value(x.uid) if isinstance(x, Ref) else x for x in flat]
        if op.func is aten.mm.default and over == [1]:
            with taping:
                if (made := product(*fixed)) is not None:
                    return made
        functional = _out_of_place(op)
        func = functional or with_dense(op.func) or op.func

        def call(*batched: torch.Tensor) -> Any:
            mixed = list(fixed)
            for i, value in zip(over, batched, strict=True):
                mixed[i] = value
            args, kwargs = tree_unflatten(mixed, spec)
            return func(*args, **kwargs)

        renames = torch.Tag.inplace_view in op.func.tags
        with taping, _slow_ones_allowed():
            out = torch.vmap(call)(*(fixed[i] for i in over))
            if functional is not None and not renames:
                self.value(op.writes[0]).copy_(out)
        if op.writes and not renames:
            return self.value(op.writes[0])
        return out


@contextlib.contextmanager
def _slow_ones_allowed() -> Iterator[None]:
    """No words about operations that have no batching rule and run draw by draw inside ``vmap``."""
    functorch._set_vmap_fallback_warning_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        functorch._set_vmap_fallback_warning_enabled(True)


def _out_of_place(op: Op) -> Callable[..., Any] | None:
    """The same operation without writing in place: more of those have a batching rule."""
    name = str(op.func._schema.name).split("::")[1]
    if len(op.writes) != 1:
        return None
    if "out" in op.kwargs:
        return _without_out(op.func)
    if not name.endswith("_") or name in {"copy_", "fill_", "zero_"}:
        return None
    if name == "index_put_" and len(op.args[1]) == 1:
        return _masked_put if not isinstance(op.args[1][0], type(None)) else None
    packet = getattr(aten, name[:-1], None)
    return getattr(packet, op.func._overloadname, None) if packet is not None else None


def _without_out(func: Any) -> Callable[..., Any] | None:
    """The overload that makes the memory which this one is given as ``out=``."""
    wanted = [(a.name, str(a.type)) for a in func._schema.arguments if a.name != "out"]
    for name in func._overloadpacket.overloads():
        other = getattr(func._overloadpacket, name)
        if [(a.name, str(a.type)) for a in other._schema.arguments] == wanted:
            return lambda *args, out=None, **kwargs: other(*args, **kwargs)
    return None


def _masked_put(
    target: torch.Tensor, indices: list[torch.Tensor], value: torch.Tensor, accumulate: bool = False
) -> torch.Tensor:
    """``target[mask] = scalar`` as a choice; other index_put as itself."""
    mask = indices[0]
    if mask.dtype == torch.bool and value.numel() == 1 and not accumulate:
        mask = mask.reshape(mask.shape + (1,) * (target.dim() - mask.dim()))
        return torch.where(mask, value.reshape(()).to(target.dtype), target)
    return aten.index_put.default(target, indices, value, accumulate)
