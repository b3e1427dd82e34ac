"""The sliced program: recorded, checked against the loop, replayed for every chunk and minibatch.

Three tiers give the same numbers: the slice batched over draws, the slice for one draw at a time,
and the loop. The highest one that agrees with the loop's own draws is used.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Block, Minibatch, Part, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram
from pyro_posterior.sliced.batching import Batched, batch_slice
from pyro_posterior.sliced.compiled import Compiled
from pyro_posterior.sliced.graphs import build_graphs
from pyro_posterior.sliced.record import record
from pyro_posterior.sliced.signature import Signature, signature, tensors_of
from pyro_posterior.sliced.sizes import chunk_draws
from pyro_posterior.sliced.skips import Skips
from pyro_posterior.sliced.slicing import Slice, is_leak, same_slice, slice_record
from pyro_posterior.sliced.tape import Record
from pyro_posterior.sliced.together import drawn_together

logger = logging.getLogger(__name__)

#: Values of globals kept between minibatches, in bytes; beyond, they are made anew each time.
KEPT_GLOBALS_BYTES = 256 << 20

#: Different programs for minibatches of one shape before the loop is used for the rest.
MOST_VARIANTS = 4

#: Recordings made, at most, to see that a draw Python read outside sites changes nothing.
MOST_FREE_READS = 8


class SlicedProgram:
    """Replays compiled slices; records again for minibatches of other shapes or other guards."""

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
        self._sites = {site.name: site for site in sites}
        self._names = tuple(self._sites)
        self._together: list[tuple[str, ...]] = [self._names]
        self._compiled: dict[tuple[Signature, tuple[str, ...]], list[Compiled]] = {}
        self._skips: dict[Signature, Skips] = {}
        self._recent: dict[int, Record] = {}  # of the minibatch under consideration, by draw
        self._given_up = False
        self._remakes = False  # constants in each draw, which may come from the data unseen
        self._several = True  # minibatches, so that globals are worth keeping
        self.batched = True
        self.workers = 1
        self.recordings = 0

    @property
    def tier(self) -> str:
        """The tier that is run."""
        return "batched slice" if self.batched else "unbatched slice"

    # ------------------------------------------------------------------------------- compiling

    def learn(self, found: Record) -> None:
        """Remember what further recordings of a minibatch of this shape need not compute."""
        with contextlib.suppress(CannotSliceError):  # said when the program is made
            self._skips[signature(found.minibatch)] = Skips.of(slice_record(found, self._names))

    def start(self, first: Minibatch, last: Minibatch) -> None:
        """Record and check on the first and last minibatch; choose groups of sites and the tier."""
        ends = [first] if last.index == first.index else [first, last]
        self._several = len(ends) == 2
        draws = sorted({0, self._num_samples - 1, *((self._num_samples // 2,) * (len(ends) < 2))})
        records = [self._record(end, draw) for end in ends for draw in draws]
        cuts = [slice_record(found, self._names) for found in records]
        if any(cut.free_reads for cut in cuts):
            records, cuts = self._more_records(records, cuts, first)
        self._remakes = _agree(records, cuts)
        scopes = [
            [site.name for site in self._sites.values() if site.scope == scope]
            for scope in ("global", "local")
        ]
        self._together = drawn_together(cuts[0], scopes, self._num_samples)
        if self._device.type == "cpu":
            self.workers = min(len(os.sched_getaffinity(0)), 8)
        try:
            self._compile_and_check(records)
        except CannotSliceError as reason:
            logger.info("drawing one at a time from the slice: %s", reason)
            self.batched, self.workers = False, 1
            self._compiled.clear()
            self._compile_and_check(records)
        chunks = [compiled.draws_at_once for compiled in self._all_compiled()]
        self.workers = max(1, min(self.workers, math.ceil(self._num_samples / min(chunks))))
        for found in records:
            found.values.clear()

    def _all_compiled(self) -> Iterator[Compiled]:
        return (compiled for variants in self._compiled.values() for compiled in variants)

    def _record(self, minibatch: Minibatch, draw: int) -> Record:
        self.recordings += 1
        known = signature(minibatch)
        try:
            found = record(self._sampler, minibatch, draw, self._names, self._skips.get(known))
            if known not in self._skips:
                self.learn(found)
            return found
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

    def _compile_and_check(self, records: list[Record]) -> None:
        for names in self._together:
            for found in records:
                if found.draw >= self._num_samples:
                    continue
                key = (signature(found.minibatch), names)
                compiled, prologue = self._find(key, found.minibatch, found)
                compiled.check(prologue, self._sampler.seed, found, names)

    def _find(
        self, key: tuple[Signature, tuple[str, ...]], minibatch: Minibatch, found: Record | None
    ) -> tuple[Compiled, Any]:
        """The compiled slice for a minibatch, from those at hand or recorded now.

        ``found`` is a record that has been compared with others; None: one is made where needed.
        """
        variants, names = self._compiled.setdefault(key, []), key[1]
        for compiled in variants:
            prologue = compiled.prepare(minibatch)
            if prologue is not None:
                return compiled, prologue
        fresh = found is None
        if found is None:
            found = self._record_recent(minibatch, 0)
        cut = slice_record(found, names)
        for compiled in variants:
            if not same_slice(compiled.cut, cut):
                prologue = compiled.prepare(minibatch, unguarded=True)
                if prologue is not None:
                    if fresh:
                        compiled.check(prologue, self._sampler.seed, found, names)
                    return compiled, prologue
        if len(variants) >= MOST_VARIANTS:
            raise CannotSliceError(
                f"{MOST_VARIANTS} minibatches of one shape were as many different programs"
            )
        if fresh:  # a shape not seen before: two draws must agree
            other = slice_record(self._record_recent(minibatch, self._num_samples - 1), names)
            remade: list[torch.Tensor] = []
            if difference := same_slice(cut, other, remade):
                raise CannotSliceError(f"two draws are not the same program: {difference}")
            self._remakes = self._remakes or bool(remade)
        compiled = self._compile(cut, found)
        prologue = compiled.prepare(minibatch)
        if prologue is None:
            raise CannotSliceError("a guard does not hold on its own minibatch")
        if fresh:
            compiled.check(prologue, self._sampler.seed, found, names)
        variants.append(compiled)
        return compiled, prologue

    def _record_recent(self, minibatch: Minibatch, draw: int) -> Record:
        """A record of the minibatch under consideration, made once for all groups of sites."""
        if draw not in self._recent:
            self._recent[draw] = self._record(minibatch, draw)
        return self._recent[draw]

    def _compile(self, cut: Slice, found: Record) -> Compiled:
        chunk = chunk_draws(cut, self._num_samples, self._device) if self.batched else None
        where = (self._sampler.seed, 0, found.minibatch.index)
        with torch.no_grad():
            batched: Batched = batch_slice(cut, tensors_of(found.minibatch), where, chunk)
            graphs = build_graphs(batched)
        leaks = self._remakes or any(is_leak(op) for op in cut.guarded)
        return Compiled(
            cut,
            graphs,
            batched.drawn,
            chunk,
            found.minibatch.index if leaks else None,
        )

    # --------------------------------------------------------------------------------- running

    def parts(self, minibatch: Minibatch, sites: Sequence[Site]) -> list[Part]:
        """A part for each group of sites that share random numbers; one for all under the loop."""
        wanted = {site.name for site in sites}
        groups = [tuple(name for name in group if name in wanted) for group in self._together]
        if not self._given_up:
            try:
                known = signature(minibatch)
                return [self._part(minibatch, (known, group)) for group in groups if group]
            except CannotSliceError as reason:
                if self._strict:
                    raise
                self._given_up = True
                logger.info("drawing the other minibatches with the loop: %s", reason)
            finally:
                self._recent.clear()
        return [
            self._one_at_a_time(part) for part in LoopProgram(self._sampler).parts(minibatch, sites)
        ]

    def _part(self, minibatch: Minibatch, key: tuple[Signature, tuple[str, ...]]) -> Part:
        compiled, prologue = self._find(key, minibatch, None)
        seed, sites = self._sampler.seed, tuple(self._sites[name] for name in key[1])
        keep = self._several and any(site.scope == "local" for site in sites)
        if keep:
            if not compiled.kept:  # the first chunk tells how large the globals are
                compiled.run(prologue, seed, 0, minibatch.index, keep=True)
            chunks = math.ceil(self._num_samples / compiled.draws_at_once)
            others = sum(x.kept_bytes for x in self._all_compiled() if x is not compiled)
            keep = compiled.globals_bytes() * chunks + others <= KEPT_GLOBALS_BYTES

        def draw(draws: range) -> Block:
            return compiled.block(prologue, seed, draws, minibatch.index, keep)

        return Part(sites, compiled.draws_at_once, draw)

    def _one_at_a_time(self, part: Part) -> Part:
        """For one caller at a time: Pyro's handlers are one stack for all threads."""

        def draw(draws: range) -> Block:
            with self._one_loop:
                return part.draw(draws)

        return replace(part, draw=draw)

    def describe(self) -> str:
        """The graphs as text: what runs, and how much fell away."""
        lines = [f"{self.tier}, {self.workers} chunks side by side"]
        for (_, names), variants in self._compiled.items():
            for compiled in variants:
                lines += ["", f"sites {', '.join(names)}", *compiled.describe()]
        return "\n".join(lines)


def _agree(records: Sequence[Record], cuts: Sequence[Slice]) -> bool:
    """Draws of one minibatch, and minibatches of which Python read the same, are one program.

    Gives whether the model makes constants anew in each draw.
    """
    remade: list[torch.Tensor] = []
    seen: dict[Any, Slice] = {}
    for found, cut in zip(records, cuts, strict=True):
        reads = tuple(_as_read(op.read) for op in cut.guarded if op.read is not None)
        for key in (found.minibatch.index, (signature(found.minibatch), reads)):
            if difference := same_slice(seen.setdefault(key, cut), cut, remade):
                raise CannotSliceError(f"two draws are not the same program: {difference}")
    return bool(remade)


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


def build_sliced(
    sampler: JointSampler,
    ends: tuple[Minibatch, Minibatch],
    sites: Sequence[Site],
    num_samples: int,
    *,
    device: torch.device,
    strict: bool = False,
    seen: Record | None = None,
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
    seen
        A record of the first minibatch from before the sites were known.

    Raises
    ------
    CannotSliceError
        With the reason why only the loop gives this model's numbers.
    """
    program = SlicedProgram(sampler, num_samples, device, sites, strict)
    if seen is not None:
        program.learn(seen)
    program.start(*ends)
    return program
