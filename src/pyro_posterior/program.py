"""Which program draws: the sliced one where it is sure to give the loop's numbers, else the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pyro import poutine

from pyro_posterior.contracts import Engine, Minibatch, Program, Site
from pyro_posterior.errors import CannotSliceError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram
from pyro_posterior.sliced.failures import worded
from pyro_posterior.sliced.program import build_sliced
from pyro_posterior.sliced.record import record_first
from pyro_posterior.sliced.tape import Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstLook:
    """The first run of guide and model, from which sites are read, noted for the sliced program."""

    guide_trace: poutine.Trace
    trace: poutine.Trace
    record: Record | None  # None where the loop draws, or the run cannot be recorded


def look_first(engine: Engine, sampler: JointSampler, first: Minibatch) -> FirstLook:
    """Run guide and model once on the first minibatch, recording where that may be of use."""
    if engine != "loop":
        try:
            record, traces = record_first(sampler, first)
            return FirstLook(*traces, record)
        except Exception as reason:  # the model's own errors come again below, as they are
            logger.debug("the first run is not recorded: %s", reason)
    with worded("running"):
        return FirstLook(*sampler.traces(first, 0), None)


def make_program(
    engine: Engine,
    sampler: JointSampler,
    seen: Record | None,
    ends: tuple[Minibatch, Minibatch],
    sites: Sequence[Site],
    num_samples: int,
    device: torch.device,
) -> Program:
    """The program for this run; ``seen`` is the record of the first look.

    Raises
    ------
    CannotSliceError
        Under ``engine="sliced"``, with the reason, where only the loop would do.
    """
    if engine == "loop":
        return LoopProgram(sampler)
    try:
        strict = engine == "sliced"
        return build_sliced(
            sampler, ends, sites, num_samples, device=device, strict=strict, seen=seen
        )
    except CannotSliceError as reason:
        if engine == "sliced":
            raise
        logger.info("drawing with the loop: %s", reason)
        return LoopProgram(sampler)
