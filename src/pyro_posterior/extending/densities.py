"""Log densities of one joint draw: of every observation, of the model and of the guide.

Scales (of annealing, of minibatches) are left out, since all observations are added up in the end.
``log_likelihood`` is of all that was observed; in ``log_p`` and ``log_q`` masks count, as in the fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine

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
    row_plates
        Plates whose rows are the observations.
    observed
        Sites with data.
    batch_axes
        Axis of the observations, negative, of sites that lie in no such plate.
    """

    row_plates: frozenset[str]
    observed: tuple[str, ...]
    batch_axes: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, guide_trace: poutine.Trace, model_trace: poutine.Trace) -> None:
        likelihood: list[torch.Tensor] = []
        p_rows, p_rest = self._split(model_trace, likelihood)
        q_rows, q_rest = self._split(guide_trace, [])
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
            add_site(model_trace, name, value, "density")

    def _split(
        self, trace: poutine.Trace, likelihood: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        by_rows, rest = [], []
        for name, node in self._counted(trace):
            density = node["fn"].log_prob(node["value"], *node["args"], **node["kwargs"])
            density = torch.as_tensor(density)
            axis = self._axis(name, node, density)
            if name in self.observed and axis is not None:
                likelihood.append(_by_row(density, axis))
            mask = node.get("mask")
            if mask is not None and mask is not True:
                density = torch.where(torch.as_tensor(mask), density, torch.zeros_like(density))
            if axis is None:
                rest.append(density.sum(dtype=torch.float64))
            else:
                by_rows.append(_by_row(density, axis))
        return by_rows, rest

    def _counted(self, trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
        """Sites with a density of their own."""
        for name, node in sites_in(trace):
            if not node["infer"].get("_deterministic"):
                yield name, node

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


def _by_row(density: torch.Tensor, axis: int) -> torch.Tensor:
    others = [i for i in range(density.dim()) if i != density.dim() + axis]
    return density.sum(others, dtype=torch.float64) if others else density.double()
