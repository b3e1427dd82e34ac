"""Interventions: sites set to values, whatever the guide draws for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyro_posterior.contracts import Site
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.predict import is_discrete


class Intervene(Messenger):
    """Sets sites to values; what comes after follows."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__()
        self._values = values

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self._values:
            return
        try:
            value = torch.as_tensor(self._values[msg["name"]])
        except (TypeError, ValueError, RuntimeError) as error:
            raise RequestError(
                f"do[{msg['name']!r}] must be a number, an array or a tensor, found "
                f"{self._values[msg['name']]!r}"
            ) from error
        fn, drawn = msg["fn"], msg["value"]
        shape = tuple(drawn.shape) if drawn is not None else tuple(fn.shape())
        if drawn is not None:
            value = value.to(drawn.device)
        if value.dtype == torch.float64 or not (value.is_floating_point() or is_discrete(fn)):
            value = value.to(torch.get_default_dtype())
        try:
            msg["value"] = value.expand(shape)
        except RuntimeError as error:
            raise RequestError(
                f"do[{msg['name']!r}] has shape {tuple(value.shape)}, which does not fit the "
                f"site's {shape}"
            ) from error
        msg["is_observed"] = True


def check_support(values: Mapping[str, Any], trace: poutine.Trace) -> None:
    """Raise where a value is none that its site could have.

    Raises
    ------
    RequestError
        It lies outside the support of the site's distribution, or is no number.
    """
    for name in values:
        fn, value = trace.nodes[name]["fn"], trace.nodes[name]["value"]
        try:
            inside = bool(fn.support.check(value).all())
        except (NotImplementedError, AttributeError):
            inside = not bool(value.isnan().any())
        if not inside:
            raise RequestError(
                f"do[{name!r}] is outside of what the site's distribution, {type(fn).__name__}, can "
                f"give ({getattr(fn, 'support', 'unknown')})"
            )


def check_one_for_all(values: Mapping[str, Any], site: Site) -> None:
    """Raise where a value would have rows of its own in every minibatch.

    Raises
    ------
    RequestError
        The value has a row per observation, which minibatches would each take from the first on.
    """
    shape = tuple(torch.as_tensor(values[site.name]).shape)
    axis = site.batch_axis
    if axis is not None and -axis <= len(shape) and shape[axis] != 1:
        raise RequestError(
            f"do[{site.name!r}] has shape {shape}, a row for each observation, and cannot be cut "
            "into minibatches: give one value for all observations, or pass the data in one call "
            "(no batch_size)"
        )
