"""Which program draws: the sliced one where it is sure to give the loop's numbers, else the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from pyro_posterior.contracts import Engine, Program, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram
from pyro_posterior.reading.result import Reading
from pyro_posterior.sliced.build import build_sliced

logger = logging.getLogger(__name__)


def make_program(
    engine: Engine,
    sampler: JointSampler,
    reading: Reading,
    sites: Sequence[Site],
    num_samples: int,
    device: torch.device,
) -> Program:
    """The program for this run.

    Raises
    ------
    CannotSliceError
        Under ``engine="sliced"``, with the reason, where only the loop would do.
    """
    if engine == "loop":
        return LoopProgram(sampler)
    try:
        strict = engine == "sliced"
        lacking = [site.name for site in sites if site.name in reading.absent]
        if lacking:
            raise CannotSliceError(f"site {lacking[0]!r} is not there in all minibatches")
        ends = (reading.first, reading.last)
        return build_sliced(
            sampler, ends, sites, num_samples, device=device, strict=strict, seen=reading.record
        )
    except CannotSliceError as reason:
        if engine == "sliced":
            raise
        logger.info("drawing with the loop: %s", reason)
        return LoopProgram(sampler)
