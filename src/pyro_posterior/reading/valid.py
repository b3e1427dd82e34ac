"""Whether what is drawn from are distributions: arguments of theirs outside what these allow.

Draws are made without Pyro's own checks, which cost more than the draws; a scale below zero would then
give numbers like any other. NaN is not told here: draws that are NaN are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pyro import poutine
from torch.distributions import constraints
from torch.distributions.utils import lazy_property

from pyro_posterior.plates import is_plate
from pyro_posterior.warn import warn


def warn_of_invalid(guide: poutine.Trace, model: poutine.Trace) -> None:
    """Say so, once, where a site is drawn from what Pyro would refuse, unless its checks are off."""
    if not torch.distributions.Distribution._validate_args:
        return
    found = [*_invalid(guide.nodes, "guide")]
    rest = {name: node for name, node in model.nodes.items() if name not in guide.nodes}
    found += _invalid(rest, "model")
    if found:
        more = f"; {len(found) - 1} more such sites" if len(found) > 1 else ""
        warn(
            f"{found[0]}{more}. Pyro refuses this where it validates, and the draws are of no such "
            "distribution: look at the fit, or at how the argument is made"
        )


def _invalid(nodes: Mapping[str, Any], role: str) -> Iterator[str]:
    for name, node in nodes.items():
        if node["type"] != "sample" or node["is_observed"] or is_plate(node):
            continue
        for words in _wrong_arguments(node["fn"]):
            yield f"the {role} draws {name!r} from {words}"
            break


def _wrong_arguments(fn: Any) -> Iterator[str]:
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    try:
        allowed = dict(getattr(fn, "arg_constraints", {}))
    except NotImplementedError:
        return
    for name, constraint in allowed.items():
        lazy = isinstance(getattr(type(fn), name, None), lazy_property)
        if constraints.is_dependent(constraint) or (lazy and name not in vars(fn)):
            continue
        value = getattr(fn, name, None)
        if not isinstance(value, torch.Tensor) or value.numel() == 0:
            continue
        with torch.no_grad():
            wrong = ~constraint.check(value)
        shown = value[wrong] if wrong.shape == value.shape else value[wrong].reshape(-1)
        shown = shown[~torch.isnan(shown)]
        if len(shown):
            yield f"{type(fn).__name__} with {name} {shown[0].item():.4g}, outside {constraint}"
