"""What a run fixes for all of its programs, before any of them is made."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pyro_posterior.joint import JointSampler


@dataclass(frozen=True)
class Terms:
    """A compiled slice depends on these and on its minibatch, and on nothing that came before."""

    sampler: JointSampler
    names: tuple[str, ...]  # all sites that will be asked for
    groups: tuple[tuple[str, ...], ...]  # of names, each drawn together
    num_samples: int
    device: torch.device
    chunk_bytes: int  # of random numbers in one chunk; it decides how sums of products round


def checked_draws(num_samples: int, middle: bool = False) -> list[int]:
    """The draws that a minibatch is held to."""
    return sorted({0, num_samples - 1, *((num_samples // 2,) if middle else ())})
