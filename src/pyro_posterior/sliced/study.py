"""Looking at a minibatch: recorded draws of it that must be one and the same program."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.compiled import LoopDraw, loop_draws
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.numbers import Numbers, rule_out_numbers
from pyro_posterior.sliced.record import record
from pyro_posterior.sliced.rekeyed import locality, rekeyed
from pyro_posterior.sliced.same import same_slice
from pyro_posterior.sliced.skips import Skips
from pyro_posterior.sliced.slicing import Slice, slice_record
from pyro_posterior.sliced.tape import Record

logger = logging.getLogger(__name__)

#: Recordings made, at most, to see that a draw Python read outside sites changes nothing.
MOST_FREE_READS = 8

#: Where recording spares results of so many bytes, it costs less than a whole draw of the loop.
MUCH_SPARED = 32 << 20


@dataclass(frozen=True)
class Study:
    """Draws of one minibatch, of which those recorded agree with one another."""

    minibatch: Minibatch
    record: Record
    draws: tuple[LoopDraw, ...]  # of the run, what replayed ones are held to
    cut: Slice  # of the record, with all sites
    own: bool  # nobody knows where some of its constants come from: it serves no other minibatch


def study(
    sampler: JointSampler,
    names: tuple[str, ...],
    minibatch: Minibatch,
    draws: Sequence[int],
    num_samples: int,
    skips: Skips | None,
    seen: Record | None = None,
) -> Study:
    """Record draws of a minibatch and compare them.

    Parameters
    ----------
    sampler, minibatch
        What is run.
    names
        The sites whose slice is compared.
    draws
        Numbers of draws of the run, all of which are made.
    num_samples
        Number of draws of the run; recordings beyond have numbers from here on.
    skips
        What an earlier recording of the same shapes showed to be of no consequence.
    seen
        An earlier record of the same shapes. Where it is the program that the last of the draws is,
        the others need no recording.

    Raises
    ------
    CannotSliceError
        The draws cannot be recorded, or are not one program.
    """

    def look(draw: int, numbers: Numbers | None = None) -> tuple[Record, Slice]:
        nonlocal skips
        with as_reason("recording"):
            found = record(sampler, minibatch, draw, names, skips, numbers)
            cut = slice_record(found, names)
            if skips is None:
                skips = Skips.of(cut)
        return found, cut

    found, cut = look(draws[-1])
    cuts, made = [cut], [LoopDraw(found.draw, found.values)]
    before = None if seen is None else _cut_again(seen, found, names)
    small = skips is None or skips.nbytes < MUCH_SPARED
    if before is not None and small and not same_slice(cut, before):
        cuts.append(before)
        made += loop_draws(sampler, names, minibatch, draws[:-1])
    else:
        for draw in draws[:-1]:
            another, its_cut = look(draw)
            cuts.append(its_cut)
            made.append(LoopDraw(draw, another.values))
    if any(cut.free_reads for cut in cuts):
        reads = [op.line for cut in cuts for op in cut.free_reads]
        for draw in range(num_samples, num_samples + MOST_FREE_READS):
            if draw - num_samples >= 3 and _all_changed(cuts):
                break
            cuts.append(look(draw)[1])
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
    remade: list[int] = []

    def compare(others: Sequence[Slice]) -> None:
        for other in others:
            if difference := same_slice(cut, other, remade):
                raise CannotSliceError(f"two draws are not the same program: {difference}")

    compare(cuts[1:])
    if remade:
        first = num_samples + MOST_FREE_READS
        constants = {uid: cut.tape.leaves[uid] for uid in remade}
        compare(rule_out_numbers(constants, lambda turn, to: look(first + turn, to)[1]))
    own = bool(remade) or cut.hands_out_memory or found.tape.own
    return Study(minibatch, found, tuple(made), cut, own)


def _cut_again(seen: Record, keyed: Record, names: tuple[str, ...]) -> Slice | None:
    """The slice of an earlier record under the keys that a later one has; None where it has none."""
    try:
        return slice_record(rekeyed(seen, locality(keyed)), names)
    except (CannotSliceError, KeyError):
        return None


def _all_changed(cuts: Sequence[Slice]) -> bool:
    """Whether each value that Python read from a free draw differed in some recording."""
    rows = [[repr(op.read) for op in cut.free_reads] for cut in cuts]
    if len({len(row) for row in rows}) > 1:
        return True  # another way through the code
    return all(len(set(column)) > 1 for column in zip(*rows, strict=True))
