"""One slice for some sites, as graphs ready to run for any chunk of any minibatch it fits."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from pyro_posterior.contracts import Block, Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.randomness import SLAB
from pyro_posterior.sliced.graphs import Graphs, guards_hold
from pyro_posterior.sliced.signature import tensors_of
from pyro_posterior.sliced.slicing import Slice, equal_values
from pyro_posterior.sliced.tape import Record

#: Largest difference from the loop, relative to the largest value of the site.
TOLERANCE = 1e-5


@dataclass
class Compiled:
    """One slice for some sites, as graphs ready to run."""

    cut: Slice
    graphs: Graphs
    drawn: dict[str, bool]
    chunk: int | None  # None: one draw at a time
    minibatch_only: int | None  # index of the one minibatch it serves, where values leaked
    kept: dict[int, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def prepare(self, minibatch: Minibatch, *, unguarded: bool = False) -> Any:
        """Values of the prologue, or None where a guard says this is another program."""
        if self.minibatch_only not in (None, minibatch.index) and not unguarded:
            return None
        try:
            with torch.inference_mode():
                values, reads = self.graphs.prologue(*tensors_of(minibatch))
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

    @property
    def draws_at_once(self) -> int:
        """Draws per call of `block`, a multiple of the slab."""
        return self.chunk or SLAB

    def block(self, prologue: Any, seed: int, draws: range, minibatch: int, keep: bool) -> Block:
        """Some draws, beginning on a whole chunk."""
        step = self.chunk or 1
        parts = [
            self.run(prologue, seed, start, minibatch, keep)
            for start in range(draws.start, draws.stop, step)
        ]
        if len(parts) == 1:
            return {name: value[: len(draws)] for name, value in parts[0].items()}
        return {name: torch.cat([part[name] for part in parts])[: len(draws)] for name in parts[0]}

    def check(self, prologue: Any, seed: int, found: Record, names: tuple[str, ...]) -> None:
        """The loop's own draw, with the same keys, must come out.

        Raises
        ------
        CannotSliceError
            A site's value is another.
        """
        row = 0 if self.chunk is None else found.draw % self.chunk
        block = self.run(prologue, seed, found.draw - row, found.minibatch.index)
        for name in names:
            if not agrees(block[name][row], found.values[name], exact=self.chunk is None):
                raise CannotSliceError(f"site {name!r} differs from the loop's draw {found.draw}")

    def describe(self) -> list[str]:
        """What runs how often, and what fell away, line by line."""
        needed = {id(op) for op in self.cut.guarded} | {id(op) for op in self.cut.ops}
        gone = Counter(op.name for op in self.cut.tape.ops if id(op) not in needed)
        lines = [
            f"{len(self.cut.tape.ops)} operations recorded, {gone.total()} fell away",
            "# fell away: " + ", ".join(f"{name} x{n}" for name, n in gone.most_common()),
            f"# constants, made once: {len(self.graphs.constants)} returned as they are",
        ]
        held: dict[int, torch.Tensor] = {}
        for graph in (self.graphs.prologue, self.graphs.globals, self.graphs.body):
            held |= {id(value): value for value in graph.buffers()}
        lines += [f"  {value.dtype} {tuple(value.shape)}" for value in held.values()]
        often = {
            "prologue": "once per minibatch",
            "globals": f"once per {self.draws_at_once} draws",
            "body": f"once per {self.draws_at_once} draws of a minibatch",
        }
        for title, when in often.items():
            graph = getattr(self.graphs, title)
            lines.append(
                f"# {title}, {when}: {self.graphs.counts[title]} operations after batching"
            )
            lines += [f"  {node.format_node()}" for node in graph.graph.nodes]
        lines.append(f"# guards: {len(self.graphs.expected)}")
        lines += [f"  {value!r}" for value in self.graphs.expected]
        return lines

    @property
    def kept_bytes(self) -> int:
        """Size of the globals kept so far."""
        return len(self.kept) * self.globals_bytes()

    def globals_bytes(self) -> int:
        """Size of one chunk's globals."""
        return sum(x.numel() * x.element_size() for x in next(iter(self.kept.values()), ()))


def agrees(got: torch.Tensor, want: torch.Tensor, *, exact: bool) -> bool:
    """Whether a value is the loop's, to the last bit or to `TOLERANCE` of its largest one."""
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
