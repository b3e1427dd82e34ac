"""Pyro's plates: what tells their messages, and parameters that follow all rows in another order.

Pyro selects a parameter's rows by a plate's indices only where the plate has fewer rows than in
total. A call for all rows in another order would get the parameters in their own.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.subsample_messenger import _Subsample


def is_plate(msg: Any) -> bool:
    """Plates leave a site of their own in a trace: the indices."""
    return isinstance(msg.get("fn"), _Subsample)


class PermutedRows(Messenger):
    """Around guide or model: plates that are given all their rows select them as well."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[str, torch.Tensor] = {}

    def __enter__(self) -> PermutedRows:
        self._rows.clear()
        super().__enter__()
        return self

    def _pyro_sample(self, msg: Any) -> None:
        if is_plate(msg) and msg["value"] is not None:
            rows, total = torch.as_tensor(msg["value"]), msg["fn"].size
            if len(rows) == total:
                self._rows[msg["name"]] = rows

    def _pyro_post_param(self, msg: Any) -> None:
        self._select(msg)

    def _pyro_post_subsample(self, msg: Any) -> None:
        self._select(msg)

    def _select(self, msg: Any) -> None:
        event_dim = msg["kwargs"].get("event_dim") if self._rows else None
        if event_dim is None:
            return
        for frame in msg["cond_indep_stack"]:
            rows = self._rows.get(frame.name)
            if rows is None or frame.dim is None:
                continue
            value, axis = msg["value"], frame.dim - event_dim
            if -axis <= value.dim() and value.shape[axis] == len(rows) > 1:
                selected = value.index_select(axis, rows.to(value.device))
                if hasattr(value, "_pyro_unconstrained_param"):
                    selected._pyro_unconstrained_param = value._pyro_unconstrained_param
                msg["value"] = selected
