"""Which program draws: the sliced one where it is sure to give the loop's numbers, else the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pyro_posterior.contracts import Engine, Program, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram
from pyro_posterior.reading.globals import check_keyed
from pyro_posterior.reading.result import Reading
from pyro_posterior.sliced.build import build_sliced

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All that a program is made from; a run that finds its numbers in a store makes none."""

    engine: Engine
    sampler: JointSampler
    reading: Reading
    sites: tuple[Site, ...]
    num_samples: int
    device: torch.device
    _made: dict[int, Program] = field(default_factory=dict, repr=False, compare=False)

    def program(self, chunk_bytes: int = 0) -> Program:
        """The program for this run, made when it is first asked for.

        Parameters
        ----------
        chunk_bytes
            Bytes of random numbers made at once, of an earlier program of the same run; 0: as suits
            the machine.

        Raises
        ------
        CannotSliceError
            Under ``engine="sliced"``, with the reason, where only the loop would do.
        """
        if chunk_bytes not in self._made:
            program = self._program(chunk_bytes)
            if program.tier == "loop":
                names = [site.name for site in self.sites]
                check_keyed(self.sampler, self.reading.first, names)
            self._made[chunk_bytes] = self._made[program.chunk_bytes] = program
        return self._made[chunk_bytes]

    def _program(self, chunk_bytes: int) -> Program:
        if self.engine == "loop":
            return LoopProgram(self.sampler)
        try:
            _check_all_there(self.sites, self.reading)
            return build_sliced(
                self.sampler,
                (self.reading.first, self.reading.last),
                self.sites,
                self.num_samples,
                device=self.device,
                strict=self.engine == "sliced",
                seen=self.reading.record,
                chunk=chunk_bytes,
            )
        except CannotSliceError as reason:
            if self.engine == "sliced":
                raise
            logger.info("drawing with the loop: %s", reason)
            return LoopProgram(self.sampler)


def _check_all_there(sites: Sequence[Site], reading: Reading) -> None:
    lacking = [site.name for site in sites if site.name in reading.absent]
    if lacking:
        raise CannotSliceError(f"site {lacking[0]!r} is not there in all minibatches")
