"""Latent, deterministic or observed: observed means that the value is the data."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import pyro.distributions as dist

from pyro_posterior.contracts import Kind
from pyro_posterior.joint import KIND
from pyro_posterior.keyed.keys import FREE
from pyro_posterior.plates import is_plate
from pyro_posterior.reading.flow import Flow


def kind_of(node: Any, flow: Flow | None, plates: Set[str]) -> Kind | None:
    """Kind of a trace node, or None for plates, parameters, factors and auxiliary sites.

    Reparametrised sites, ``Delta(v, obs=v)`` and the like are marked observed by Pyro, but their
    values are computed from draws: the flow of the recorded run tells them from data.
    """
    if node["type"] != "sample" or is_plate(node) or node["infer"].get("is_auxiliary"):
        return None
    if KIND in node["infer"]:
        return node["infer"][KIND]
    if node["infer"].get("_deterministic"):
        return "deterministic"
    fn = node["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    if isinstance(fn, dist.Unit):  # pyro.factor
        return None
    if not node["is_observed"]:
        return "latent"
    drawn = flow is not None and flow.randomness_of(node["name"]) - {FREE, *plates}
    return "deterministic" if drawn else "observed"
