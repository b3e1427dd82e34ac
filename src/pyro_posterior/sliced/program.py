"""The sliced program: recorded, checked against the loop, replayed for every chunk and minibatch.

Three tiers give the same numbers: the slice batched over draws, the slice for one draw at a time,
and the loop. The highest one that agrees with the loop's own draws is used.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import pickle
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Block, Minibatch, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram
from pyro_posterior.randomness import SLAB
from pyro_posterior.sliced.batching import Batched, batch_slice
from pyro_posterior.sliced.graphs import Graphs, build_graphs, guards_hold
from pyro_posterior.sliced.record import Record, record
from pyro_posterior.sliced.slicing import Slice, equal_values, is_leak, same_slice, slice_record

logger = logging.getLogger(__name__)

#: Random numbers of a chunk on the CPU, in bytes: one to two times a core's second-level cache.
CHUNK_BYTES = 4 << 20

#: Values of globals kept between minibatches, in bytes; beyond, they are made anew each time.
KEPT_GLOBALS_BYTES = 256 << 20

#: Different programs for minibatches of one shape before the loop is used for the rest.
MOST_VARIANTS = 4

#: Recordings made, at most, to see that a draw Python read outside sites changes nothing.
MOST_FREE_READS = 8

#: Largest difference from the loop, relative to the largest value of the site.
TOLERANCE = 1e-5

Signature = tuple[Any, ...]


def signature(minibatch: Minibatch) -> Signature:
    """What must be equal for one recording to serve two minibatches: all but tensors' values."""
    leaves, spec = tree_flatten((minibatch.args, dict(minibatch.kwargs)))
    tensors = _tensors(minibatch)

    def look(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            position = next(i for i, x in enumerate(tensors) if x is value)
            layout = (tuple(value.shape), value.stride(), value.storage_offset())
            seen = (
                value.dtype,
                value.device,
                value.requires_grad,
                *map(_content, vars(value).items()),
            )
            return position, layout, seen
        if isinstance(value, np.ndarray) and value.dtype != object:
            return value.shape, str(value.dtype), value.tobytes()
        return type(value), _content(value)

    return repr(spec), *(look(value) for value in leaves)


class _Same:
    """Equal only for the same object, which is kept alive."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _content(value: Any) -> Any:
    """What tells two values apart. Many a ``repr`` leaves out what a table or matrix holds."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    try:
        return hashlib.sha256(pickle.dumps(value)).digest()
    except Exception:  # any object's own code may run here
        return _Same(value)


def _tensors(minibatch: Minibatch) -> list[torch.Tensor]:
    """The distinct tensors among the arguments."""
    leaves = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
    found: dict[int, torch.Tensor] = {id(x): x for x in leaves if isinstance(x, torch.Tensor)}
    return list(found.values())


@dataclass
class Compiled:
    """One slice for some sites, as graphs ready to run."""

    cut: Slice
    graphs: Graphs
    drawn: dict[str, bool]
    chunk: int | None  # None: one draw at a time
    recorded_ops: int
    minibatch_only: int | None  # index of the one minibatch it serves, where values leaked
    kept: dict[int, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def prepare(self, minibatch: Minibatch, *, unguarded: bool = False) -> Any:
        """Values of the prologue, or None where a guard says this is another program."""
        if self.minibatch_only not in (None, minibatch.index) and not unguarded:
            return None
        try:
            with torch.inference_mode():
                values, reads = self.graphs.prologue(*_tensors(minibatch))
        except RuntimeError:  # shapes no longer fit
            return None
        if unguarded or guards_hold(self.graphs.expected, reads):
            return values
        return None

    def _globals(self, seed: int, start: int, keep: bool) -> tuple[torch.Tensor, ...]:
        held = self.kept.get(start)
        if held is None:
            held = self.graphs.globals((seed, start, -1))[0]
            if keep:
                self.kept[start] = held
        return held

    def run(
        self, prologue: Any, seed: int, start: int, minibatch: int, keep: bool = False
    ) -> Block:
        """One chunk of draws (one draw where ``chunk`` is None), the draw axis in front."""
        with torch.inference_mode():
            glob = self._globals(seed, start, keep)
            body = self.graphs.body((seed, start, minibatch), *prologue, *glob)[0]
            found = {
                "constant": self.graphs.constants,
                "prologue": prologue,
                "globals": glob,
                "body": body,
            }
            size = self.chunk or 1
            block = {}
            for name, (source, position) in self.graphs.sources.items():
                value = found[source][position]
                if self.chunk is None or not self.drawn[name]:
                    value = value.expand(size, *value.shape)
                block[name] = value
            return block

    def globals_bytes(self) -> int:
        """Size of one chunk's globals."""
        return sum(x.numel() * x.element_size() for x in next(iter(self.kept.values()), ()))


class SlicedProgram:
    """Replays compiled slices; records again for minibatches of other shapes or other guards."""

    joint = False

    def __init__(
        self,
        sampler: JointSampler,
        num_samples: int,
        device: torch.device,
        sites: Sequence[Site],
        strict: bool = False,
    ) -> None:
        self._sampler = sampler
        self._strict = strict
        self._one_loop = threading.Lock()
        self._num_samples = num_samples
        self._device = device
        self._names = tuple(site.name for site in sites)
        self._compiled: dict[tuple[Signature, tuple[str, ...]], list[Compiled]] = {}
        self._records: dict[tuple[int, Signature], list[Record]] = {}
        self._given_up = False
        self._several = True  # minibatches, so that globals are worth keeping
        self.batched = True
        self.chunk = SLAB
        self.workers = 1
        self.recordings = 0

    @property
    def tier(self) -> str:
        """The tier that is run."""
        return "batched slice" if self.batched else "unbatched slice"

    # ------------------------------------------------------------------------------- compiling

    def start(self, first: Minibatch, last: Minibatch) -> None:
        """Record and check on the first and last minibatch; choose tier and chunk."""
        ends = [first] if last.index == first.index else [first, last]
        self._several = len(ends) == 2
        draws = sorted({0, self._num_samples - 1, *((self._num_samples // 2,) * (len(ends) < 2))})
        records = [self._record(end, draw) for end in ends for draw in draws]
        cuts = [slice_record(found, self._names) for found in records]
        if any(cut.free_reads for cut in cuts):
            records, cuts = self._more_records(records, cuts, first)
        _agree(records, cuts)
        self._choose_chunk(cuts[0], records[0])
        scopes = {tuple(names) for names in self._groups()}
        try:
            self._compile_and_check(records, scopes)
        except CannotSliceError as reason:
            logger.info("drawing one at a time from the slice: %s", reason)
            self.batched, self.chunk, self.workers = False, SLAB, 1
            self._compiled.clear()
            self._compile_and_check(records, scopes)
        for found in records:
            found.values.clear()

    def _groups(self) -> list[tuple[str, ...]]:
        local = self._sampler_local
        groups = [
            tuple(name for name in self._names if name in local),
            tuple(name for name in self._names if name not in local),
        ]
        return [group for group in groups if group]

    _sampler_local: frozenset[str] = frozenset()

    def _record(self, minibatch: Minibatch, draw: int) -> Record:
        self.recordings += 1
        try:
            return record(self._sampler, minibatch, draw, self._names)
        except CannotSliceError as error:  # pyro adds the shapes of all sites to the message
            raise CannotSliceError(str(error).split("\n")[0]) from None
        except Exception as error:
            raise CannotSliceError(f"the draw cannot be recorded: {error}") from error

    def _more_records(
        self, records: list[Record], cuts: list[Slice], first: Minibatch
    ) -> tuple[list[Record], list[Slice]]:
        """Python read a free draw: other values of it must give the same slice."""
        reads = [op.line for cut in cuts for op in cut.free_reads]
        for draw in range(self._num_samples, self._num_samples + MOST_FREE_READS):
            if draw - self._num_samples >= 3 and _all_changed(cuts):
                break
            records.append(self._record(first, draw))
            cuts.append(slice_record(records[-1], self._names))
        if not _all_changed(cuts):
            raise CannotSliceError(
                f"Python reads a draw made outside any site ({reads[0]}), always the same in "
                f"{len(cuts)} recordings, so what it does is not known"
            )
        logger.info(
            "Python reads a draw made outside any site (%s); %d recordings with other values gave "
            "the same program",
            reads[0],
            len(cuts),
        )
        return records, cuts

    def _choose_chunk(self, cut: Slice, found: Record) -> None:
        """As many draws as keep their random numbers in cache (CPU) or in free memory (GPU)."""
        padded = math.ceil(self._num_samples / SLAB) * SLAB
        tape = cut.tape
        per_draw = sum(
            tape.nbytes[uid]
            for op in cut.ops
            if op.key is not None
            for uid in op.outs
            if uid is not None
        )
        if self._device.type == "cuda":
            budget = torch.cuda.mem_get_info(self._device)[0] // 16
            most = padded
        else:
            budget, most = CHUNK_BYTES, 128
            self.workers = min(len(os.sched_getaffinity(0)), 8)
        fits = budget // max(per_draw, 1) // SLAB * SLAB
        self.chunk = max(SLAB, min(fits, most, padded))
        self.workers = min(self.workers, max(1, padded // self.chunk))

    def _compile_and_check(self, records: list[Record], scopes: set[tuple[str, ...]]) -> None:
        for names in sorted(scopes):
            for found in records:
                if found.draw >= self._num_samples:
                    continue
                compiled, prologue = self._find(found.minibatch, names, found)
                self._check(compiled, prologue, found, names)

    def _find(
        self, minibatch: Minibatch, names: tuple[str, ...], found: Record | None = None
    ) -> tuple[Compiled, Any]:
        """The compiled slice for a minibatch, from those at hand or recorded now."""
        key = (signature(minibatch), names)
        variants = self._compiled.setdefault(key, [])
        for compiled in variants:
            prologue = compiled.prepare(minibatch)
            if prologue is not None:
                return compiled, prologue
        fresh = found is None
        if found is None:
            found = self._record(minibatch, 0)
        cut = slice_record(found, names)
        for compiled in variants:
            if not same_slice(compiled.cut, cut):
                prologue = compiled.prepare(minibatch, unguarded=True)
                if prologue is not None:
                    if fresh:
                        self._check(compiled, prologue, found, names)
                    return compiled, prologue
        if len(variants) >= MOST_VARIANTS:
            raise CannotSliceError(
                f"{MOST_VARIANTS} minibatches of one shape were as many different programs"
            )
        if fresh:  # a shape not seen before: two draws must agree
            other = slice_record(self._record(minibatch, self._num_samples - 1), names)
            if difference := same_slice(cut, other):
                raise CannotSliceError(f"two draws are not the same program: {difference}")
        compiled = self._compile(cut, found)
        prologue = compiled.prepare(minibatch)
        if prologue is None:
            raise CannotSliceError("a guard does not hold on its own minibatch")
        if fresh:
            self._check(compiled, prologue, found, names)
        variants.append(compiled)
        return compiled, prologue

    def _compile(self, cut: Slice, found: Record) -> Compiled:
        chunk = self.chunk if self.batched else None
        where = (self._sampler.seed, 0, found.minibatch.index)
        with torch.no_grad():
            batched: Batched = batch_slice(cut, _tensors(found.minibatch), where, chunk)
            graphs = build_graphs(batched)
        leaks = any(is_leak(op) for op in cut.guarded)
        return Compiled(
            cut,
            graphs,
            batched.drawn,
            chunk,
            len(cut.tape.ops),
            found.minibatch.index if leaks else None,
        )

    def _check(
        self, compiled: Compiled, prologue: Any, found: Record, names: tuple[str, ...]
    ) -> None:
        """The loop's own draw, with the same keys, must come out."""
        seed, index = self._sampler.seed, found.minibatch.index
        if compiled.chunk is None:
            start, row = found.draw, 0
        else:
            start = found.draw // compiled.chunk * compiled.chunk
            row = found.draw - start
        block = compiled.run(prologue, seed, start, index)
        for name in names:
            got, want = block[name][row], found.values[name]
            if not _agrees(got, want, exact=compiled.chunk is None):
                raise CannotSliceError(f"site {name!r} differs from the loop's draw {found.draw}")

    # --------------------------------------------------------------------------------- running

    def on(self, minibatch: Minibatch, sites: Sequence[Site]) -> Callable[[range], Block]:
        """A function of a range of draw numbers that gives their block."""
        names = tuple(name for name in self._names if name in {site.name for site in sites})
        if not self._given_up:
            try:
                compiled, prologue = self._find(minibatch, names)
            except CannotSliceError as reason:
                if self._strict:
                    raise
                self._given_up = True
                logger.info("drawing the other minibatches with the loop: %s", reason)
        if self._given_up:
            return self._with_loop(minibatch, sites)
        seed = self._sampler.seed
        if compiled.chunk is None:
            return lambda draws: _stacked(
                [compiled.run(prologue, seed, draw, minibatch.index) for draw in draws]
            )
        chunk = compiled.chunk
        keep = self._several and any(name in self._sampler_local for name in names)
        if keep:
            if not compiled.kept:  # the first chunk tells how large the globals are
                compiled.run(prologue, seed, 0, minibatch.index, keep=True)
            chunks = math.ceil(self._num_samples / chunk)
            keep = compiled.globals_bytes() * chunks <= KEPT_GLOBALS_BYTES

        def draw(draws: range) -> Block:
            block: Block = {}
            for start in range(draws.start, draws.stop, chunk):
                part = compiled.run(prologue, seed, start, minibatch.index, keep)
                rest = draws.stop - start
                part = {name: value[:rest] for name, value in part.items()}
                block = part if not block else _joined(block, part)
            return block

        return draw

    def _with_loop(self, minibatch: Minibatch, sites: Sequence[Site]) -> Callable[[range], Block]:
        """The loop, one caller at a time: Pyro's handlers are one stack for all threads."""
        loop = LoopProgram(self._sampler).on(minibatch, sites)

        def draw(draws: range) -> Block:
            with self._one_loop:
                return loop(draws)

        return draw

    def describe(self) -> str:
        """The graphs as text: what runs, and how much fell away."""
        lines = [f"{self.tier}, {self.chunk} draws a chunk, {self.workers} side by side"]
        for (_, names), variants in self._compiled.items():
            for compiled in variants:
                counts = compiled.graphs.counts
                kept = len(compiled.cut.ops)
                lines.append(
                    f"\nsites {', '.join(names)}: {compiled.recorded_ops} operations recorded, "
                    f"{compiled.recorded_ops - kept} fell away; prologue {counts['prologue']}, "
                    f"globals {counts['globals']}, body {counts['body']} after batching; "
                    f"{len(compiled.graphs.expected)} guards"
                )
                for title in ("prologue", "globals", "body"):
                    graph: Any = getattr(compiled.graphs, title).graph
                    lines += [f"# {title}", *(f"  {n.format_node()}" for n in graph.nodes)]
        return "\n".join(lines)


def _agree(records: Sequence[Record], cuts: Sequence[Slice]) -> None:
    """Draws of one minibatch, and minibatches of which Python read the same, are one program."""
    seen: dict[Any, Slice] = {}
    for found, cut in zip(records, cuts, strict=True):
        reads = tuple(_as_read(op.read) for op in cut.guarded if op.read is not None)
        for key in (found.minibatch.index, (signature(found.minibatch), reads)):
            if difference := same_slice(seen.setdefault(key, cut), cut):
                raise CannotSliceError(f"two draws are not the same program: {difference}")


def _as_read(read: Any) -> Any:
    """What Python read, in full and hashable."""
    flat = tree_flatten(read)[0]
    return tuple(repr(x.tolist() if isinstance(x, torch.Tensor) else x) for x in flat)


def _all_changed(cuts: Sequence[Slice]) -> bool:
    """Whether each value that Python read from a free draw differed in some recording."""
    rows = [[repr(op.read) for op in cut.free_reads] for cut in cuts]
    if len({len(row) for row in rows}) > 1:
        return True  # another way through the code
    return all(len(set(column)) > 1 for column in zip(*rows, strict=True))


def _joined(one: Block, other: Block) -> Block:
    return {name: torch.cat([value, other[name]]) for name, value in one.items()}


def _stacked(rows: list[Block]) -> Block:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _agrees(got: torch.Tensor, want: torch.Tensor, *, exact: bool) -> bool:
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if exact or not want.is_floating_point():
        return equal_values(got, want)
    if not want.numel():
        return True
    largest = float(want.abs().max())  # not finite with any NaN or infinity
    if math.isfinite(largest):
        return bool((got - want).abs_().max() <= TOLERANCE * largest)
    finite = torch.isfinite(want)
    if not torch.equal(finite, torch.isfinite(got)):
        return False
    scale = want[finite].abs().max() if finite.any() else torch.zeros(())
    return bool(((got - want).abs()[finite] <= TOLERANCE * scale).all())


def build_sliced(
    sampler: JointSampler,
    ends: tuple[Minibatch, Minibatch],
    sites: Sequence[Site],
    num_samples: int,
    *,
    device: torch.device,
    strict: bool = False,
) -> SlicedProgram:
    """Record, slice, batch and check.

    Parameters
    ----------
    sampler
        Guide and model with their keys.
    ends
        The first and the last minibatch; the same where there is one.
    sites
        All sites that will be asked for.
    num_samples
        Number of draws of the run.
    device
        Where the draws are made.
    strict
        Raise where a later minibatch needs the loop, instead of using it.

    Raises
    ------
    CannotSliceError
        With the reason why only the loop gives this model's numbers.
    """
    program = SlicedProgram(sampler, num_samples, device, sites, strict)
    program._sampler_local = frozenset(site.name for site in sites if site.scope == "local")
    program.start(*ends)
    return program
