"""Observed sites on which others rest: drawn anew where the model has them.

An outcome that the model draws around another one (the second of a pair, the next of a series) must
follow the prediction of that one, not its data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.predict import DATA, like_data
from pyro_posterior.joint import JointSampler
from pyro_posterior.request import Request

logger = logging.getLogger(__name__)


def drawn_in_place(
    request: Request, sampler: JointSampler, first: Minibatch, observed: tuple[str, ...]
) -> JointSampler:
    """The sampler as it is, or, where outcomes rest on each other, one that draws them in turn.

    Raises
    ------
    RequestError
        Outcomes rest on each other, and something is asked for that needs the data in their place.
    """
    if len(observed) < 2:
        return sampler
    _, conditioned = sampler.traces(first, 0)
    in_turn = replace(sampler, model=DrawnInPlace(observed)(sampler.model))
    try:
        _, redrawn = in_turn.traces(first, 0)
    except Exception as error:  # the model cannot go on with other values than the data
        logger.debug("outcomes cannot be drawn in turn: %s", error)
        return sampler
    resting = _resting_on_data(conditioned, redrawn, observed)
    if not resting:
        return sampler
    others = [name for name, asked in (("log_likelihood", request.log_likelihood),) if asked] + (
        [] if request.predictive else ["expected"]
    )
    if others:
        raise RequestError(
            f"{', '.join(map(repr, resting))} depends on other observed sites: {others[0]}=True "
            "needs their data and predictions follow their predictions. "
            + (
                "Ask for predictive=True in a call of its own"
                if others[0] == "log_likelihood"
                else "Ask for predictive=True, too"
            )
        )
    return in_turn


class DrawnInPlace(Messenger):
    """Draws observed sites anew where the model has them, so that what comes after follows."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = frozenset(names)

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._names and msg["is_observed"]:
            msg["infer"] = {**(msg["infer"] or {}), DATA: msg["value"]}
            msg["value"], msg["is_observed"] = None, False

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self._names and DATA in msg["infer"]:
            msg["value"] = like_data(msg["value"], msg["fn"], msg["infer"][DATA])


def _resting_on_data(
    conditioned: poutine.Trace, redrawn: poutine.Trace, observed: Iterable[str]
) -> list[str]:
    """Observed sites whose distribution is another one where the others are drawn anew."""
    found = []
    for name in observed:
        node, other = conditioned.nodes[name], redrawn.nodes[name]
        value = torch.as_tensor(node["value"])
        one, two = (torch.as_tensor(n["fn"].log_prob(value)) for n in (node, other))
        if one.shape != two.shape or not torch.equal(one.nan_to_num(), two.nan_to_num()):
            found.append(name)
    return found
