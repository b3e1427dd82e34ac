"""Whether the model came as the guide, which would give draws from the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
from pyro import poutine

from pyro_posterior.errors import RequestError
from pyro_posterior.plates import is_plate


def check_parts(guide_trace: poutine.Trace, trace: poutine.Trace) -> None:
    """Raise where what came as guide is the model: it has observed sites, and the model has none.

    Parameters
    ----------
    guide_trace, trace
        Of the guide, and of the model replayed against it.
    """
    theirs = _observed(guide_trace.nodes)
    if theirs and not _observed(trace.nodes):
        raise RequestError(
            f"the guide observes {theirs[0]!r} and the model observes nothing: model and guide seem "
            "to be exchanged; call sample_posterior(model, guide, data)"
        )


def _observed(nodes: Mapping[str, Any]) -> list[str]:
    return [name for name, node in nodes.items() if node["type"] == "sample" and _is_data(node)]


def _is_data(node: Any) -> bool:
    fn, infer = node["fn"], node["infer"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if is_plate(node) or isinstance(fn, dist.Unit):  # the indices of a plate, or a factor
        return False
    made = infer.get("_deterministic") or infer.get("is_auxiliary")
    return bool(node["is_observed"]) and not made
