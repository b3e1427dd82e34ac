"""Log densities of one joint draw: of every observation, of the model and of the guide.

Scales (of annealing, of minibatches) are left out, since all observations are added up in the end.
Masks count, as in the fit: what they hide, often gaps filled with any number, adds nothing.
Latent variables that no guide gives are drawn from the model, so the model's density is theirs in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame

from pyro_posterior.errors import RequestError
from pyro_posterior.extending.nodes import add_site, sites_in

LIKELIHOOD = "log_likelihood"
P_ROWS, P_REST = "log_p of rows", "log_p of the rest"
Q_ROWS, Q_REST = "log_q of rows", "log_q of the rest"

RATIO = "log_p over log_q of rows"


@dataclass(frozen=True)
class Densities:
    """Adds the log density of each observation's data, and of model and guide by rows and rest.

    Attributes
    ----------
    plate
        Whose rows are the observations.
    row_plates
        All plates with those rows.
    observed
        Sites with data.
    batch_axes
        Axis of the observations, negative, of sites that lie in no such plate.
    """

    plate: str
    row_plates: frozenset[str]
    observed: tuple[str, ...]
    batch_axes: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, guide_trace: poutine.Trace, model_trace: poutine.Trace) -> None:
        likelihood: list[torch.Tensor] = []
        p_rows, p_rest = self._split(_counted(model_trace), likelihood)
        unguided = [
            (name, node)
            for name, node in _counted(model_trace)
            if name not in guide_trace.nodes and not node["is_observed"]
        ]
        q_rows, q_rest = self._split([*_counted(guide_trace), *unguided], [])
        if not likelihood:
            raise RequestError(
                "log_likelihood=True needs observed sites with a row per observation, but "
                f"{', '.join(map(repr, self.observed)) or 'the model'} has none: put observations "
                "in a pyro.plate, and name it with obs_plate= where it is not found"
            )
        rows = likelihood[0].shape[0]
        device = likelihood[0].device
        no_rows = torch.zeros(rows, dtype=torch.float64, device=device)
        nothing = torch.zeros((), dtype=torch.float64, device=device)
        log_p, log_q = sum(p_rows, no_rows), sum(q_rows, no_rows)
        found = {
            LIKELIHOOD: sum(likelihood, no_rows),
            P_ROWS: log_p,
            Q_ROWS: log_q,
            RATIO: log_p - log_q,
            P_REST: sum(p_rest, nothing),
            Q_REST: sum(q_rest, nothing),
        }
        for name, value in found.items():
            inside = (self.plate,) if value.dim() else ()
            frames = tuple(CondIndepStackFrame(plate, -1, rows, 0) for plate in inside)
            add_site(model_trace, name, value, "density", frames)

    def _split(
        self, nodes: Iterable[tuple[str, Any]], likelihood: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        by_rows, rest = [], []
        for name, node in nodes:
            density = node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
            density = torch.as_tensor(density)
            mask = node.get("mask")
            if mask is not None and mask is not True:
                density = torch.where(torch.as_tensor(mask), density, torch.zeros_like(density))
            axis = self._axis(name, node, density)
            if axis is None:
                rest.append(density.sum(dtype=torch.float64))
                continue
            by_rows.append(_by_row(density, axis))
            if name in self.observed:
                likelihood.append(by_rows[-1])
        return by_rows, rest

    def _axis(self, name: str, node: Any, density: torch.Tensor) -> int | None:
        for frame in node["cond_indep_stack"]:
            inside = frame.name in self.row_plates and frame.dim is not None
            if inside and -frame.dim <= density.dim():
                return int(frame.dim)
        axis = self.batch_axes.get(name)
        if axis is None or axis + node["fn"].event_dim >= 0:
            return None
        axis += node["fn"].event_dim
        return axis if -axis <= density.dim() else None


def has_rows_of_its_own(
    guide_trace: poutine.Trace, model_trace: poutine.Trace, row_plates: frozenset[str]
) -> bool:
    """Whether the guide's density of local variables is told row by row.

    A guide that draws all of them at once (`AutoDiagonalNormal`, `AutoMultivariateNormal`) has the
    density in one auxiliary site and only copies its parts to the rows.
    """

    def inside(trace: poutine.Trace) -> dict[str, Any]:
        return {
            name: node
            for name, node in _counted(trace)
            if any(frame.name in row_plates for frame in node["cond_indep_stack"])
        }

    local = [name for name, node in inside(model_trace).items() if not node["is_observed"]]
    guided = inside(guide_trace)
    drawn = [name for name, node in guided.items() if not _is_point(node["fn"])]
    return len(drawn) >= sum(name in guide_trace.nodes for name in local)


def _is_point(fn: Any) -> bool:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, dist.Delta)


def _counted(trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """Sites with a density of their own."""
    for name, node in sites_in(trace):
        if not node["infer"].get("_deterministic"):
            yield name, node


def _by_row(density: torch.Tensor, axis: int) -> torch.Tensor:
    others = [i for i in range(density.dim()) if i != density.dim() + axis]
    return density.sum(others, dtype=torch.float64) if others else density.double()
