"""The loop program: one run of guide and model per draw. The reference for every faster one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pyro_posterior.contracts import Block, Minibatch, Part, Site
from pyro_posterior.joint import JointSampler
from pyro_posterior.sliced.failures import worded


@dataclass(frozen=True)
class LoopProgram:
    """Draws one after the other. Pyro's handler stack is global, so no two at a time."""

    sampler: JointSampler
    tier: str = "loop"
    workers: int = 1
    chunk_bytes: int = 0

    def parts(self, minibatch: Minibatch, sites: Sequence[Site]) -> list[Part]:
        """One part: a run of guide and model gives the sites all together."""
        names = tuple(site.name for site in sites)

        def draw(draws: range) -> Block:
            rows: list[Block] = []
            with worded("running"):
                for number in draws:  # a model may write the next draw to the same memory
                    values = self.sampler.values(minibatch, number, names)
                    rows.append({name: value.clone() for name, value in values.items()})
                return {name: torch.stack([row[name] for row in rows]) for name in names}

        return [Part(tuple(sites), 1, draw, self.tier)]

    def describe(self) -> str:
        """What is run, for a person to read."""
        return f"loop: guide and replayed model, once per draw\n{self.sampler.spread}"
