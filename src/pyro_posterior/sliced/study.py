"""Looking at a minibatch: a few recorded draws of it that must be one and the same program."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.failures import as_reason
from pyro_posterior.sliced.record import record
from pyro_posterior.sliced.same import same_slice
from pyro_posterior.sliced.skips import Skips
from pyro_posterior.sliced.slicing import Slice, slice_record
from pyro_posterior.sliced.tape import Record

logger = logging.getLogger(__name__)

#: Recordings made, at most, to see that a draw Python read outside sites changes nothing.
MOST_FREE_READS = 8


@dataclass(frozen=True)
class Study:
    """Recorded draws of one minibatch that agree with one another."""

    minibatch: Minibatch
    records: tuple[Record, ...]  # draws of the run, what replayed ones are held to
    cut: Slice  # with all sites
    own: bool  # nobody knows where some of its constants come from: it serves no other minibatch


def study(
    sampler: JointSampler,
    names: tuple[str, ...],
    minibatch: Minibatch,
    draws: Sequence[int],
    num_samples: int,
    skips: Skips | None,
) -> Study:
    """Record some draws of a minibatch and compare them.

    Parameters
    ----------
    sampler, minibatch
        What is run.
    names
        The sites whose slice is compared.
    draws
        Numbers of the draws.
    num_samples
        Number of draws of the run; recordings beyond have numbers from here on.
    skips
        What an earlier recording of the same shapes showed to be of no consequence.

    Raises
    ------
    CannotSliceError
        The draws cannot be recorded, or are not one program.
    """

    def look(draw: int) -> tuple[Record, Slice]:
        nonlocal skips
        with as_reason("recording"):
            found = record(sampler, minibatch, draw, names, skips)
            cut = slice_record(found, names)
            if skips is None:
                skips = Skips.of(cut)
        return found, cut

    looks = [look(draw) for draw in draws]
    cuts = [cut for _, cut in looks]
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
    remade: list[object] = []
    for cut in cuts[1:]:
        if difference := same_slice(cuts[0], cut, remade):
            raise CannotSliceError(f"two draws are not the same program: {difference}")
    own = bool(remade) or cuts[0].hands_out_memory or looks[0][0].tape.own
    return Study(minibatch, tuple(found for found, _ in looks), cuts[0], own)


def _all_changed(cuts: Sequence[Slice]) -> bool:
    """Whether each value that Python read from a free draw differed in some recording."""
    rows = [[repr(op.read) for op in cut.free_reads] for cut in cuts]
    if len({len(row) for row in rows}) > 1:
        return True  # another way through the code
    return all(len(set(column)) > 1 for column in zip(*rows, strict=True))
