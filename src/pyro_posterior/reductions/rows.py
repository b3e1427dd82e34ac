"""Small reductions over observations: sums, values kept as they are, tails of each observation.

Each sees the rows of one segment, piece by piece and in order, and gives arrays that are written
with the segment; `joined` puts those of all segments together in their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pyro_posterior.reductions.psis import smooth

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Total:
    """The sum over observations of a site with one number each, by draw, in float64."""

    name: str
    site: str

    def update(
        self, state: State | None, draws: torch.Tensor, axis: int | None, first: int
    ) -> State:
        """Add rows ``(draw, obs)``, or take a global site ``(draw,)`` as it is."""
        values = draws.detach().double()
        mine = (values if axis is None else values.sum(1)).cpu().numpy()
        return {"sum": mine if state is None else state["sum"] + mine}


@dataclass(frozen=True)
class Kept:
    """All draws of a site with one number per observation."""

    name: str
    site: str

    def update(
        self, state: State | None, draws: torch.Tensor, axis: int | None, first: int
    ) -> State:
        """Put rows ``(draw, obs)`` behind those that came before."""
        mine = draws.detach().cpu().numpy()
        return {
            "draws": np.array(mine)
            if state is None
            else np.concatenate([state["draws"], mine], axis=1)
        }


@dataclass(frozen=True)
class Tails:
    """Pareto k of each observation's importance ratios."""

    name: str
    site: str

    def update(
        self, state: State | None, draws: torch.Tensor, axis: int | None, first: int
    ) -> State:
        """Of rows ``(draw, obs)`` of logarithms of ratios."""
        mine = smooth(draws.detach().cpu().numpy().T).k
        return {"k": mine if state is None else np.concatenate([state["k"], mine])}


def added(parts: Iterable[Mapping[str, np.ndarray]]) -> np.ndarray | None:
    """The sum of all segments' totals, in their order; None where there are none."""
    total = None
    for part in parts:
        total = part["sum"] if total is None else total + part["sum"]
    return total


def joined(parts: Iterable[Mapping[str, np.ndarray]], key: str, axis: int) -> np.ndarray | None:
    """All segments' arrays behind each other; None where there are none."""
    arrays = [part[key] for part in parts]
    return np.concatenate(arrays, axis=axis) if arrays else None
