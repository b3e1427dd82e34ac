"""Which program draws: the sliced one where it is sure to give the loop's numbers, else the loop."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from pyro_posterior.contracts import Engine, Minibatch, Program, Site
from pyro_posterior.errors import CannotSliceError, RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.loop import LoopProgram

logger = logging.getLogger(__name__)


def check_engine(engine: str) -> None:
    """Raise `RequestError` unless ``engine`` is one of the three."""
    if engine not in ("auto", "sliced", "loop"):
        raise RequestError(f"engine={engine!r} is unknown: choose 'auto', 'sliced' or 'loop'")


def make_program(
    engine: Engine,
    sampler: JointSampler,
    ends: tuple[Minibatch, Minibatch],
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
    from pyro_posterior.sliced.program import build_sliced

    try:
        strict = engine == "sliced"
        return build_sliced(sampler, ends, sites, num_samples, device=device, strict=strict)
    except CannotSliceError as reason:
        if engine == "sliced":
            raise
        logger.info("drawing with the loop: %s", reason)
        return LoopProgram(sampler)
