"""Guide and model as extensions call them: without the outcome, with interventions, on new data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pyro import poutine

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.extending.intervene import Intervene, check_support
from pyro_posterior.extending.new_data import unfitting, with_missing_arguments
from pyro_posterior.extending.nodes import sites_in
from pyro_posterior.joint import JointSampler, no_validation
from pyro_posterior.keyed.modes import KeyedDraws
from pyro_posterior.plates import is_plate
from pyro_posterior.request import Request
from pyro_posterior.warn import warn


def prepared(
    request: Request, sampler: JointSampler, first: Minibatch, predicts: bool
) -> JointSampler:
    """Guide and model called with what there is, the model with interventions.

    Raises
    ------
    RequestError
        An intervention names no site of the model, or does not fit it.
    """
    model, guide = sampler.model, sampler.guide
    if predicts:
        model, guide = with_missing_arguments(model), with_missing_arguments(guide)
    if request.do:
        alone = trace_of(sampler, model, first)
        names = [name for name, _ in sites_in(alone)]
        if unknown := sorted(set(request.do) - set(names)):
            raise RequestError(
                f"do= names {unknown}, which the model does not have. Its sites are: "
                f"{', '.join(map(repr, names))}"
            )
        model = Intervene(request.do)(model)
        check_support(request.do, trace_of(sampler, model, first))
    sampler = replace(sampler, model=model, guide=guide)
    if predicts:
        alone, guided = trace_of(sampler, model, first), trace_of(sampler, guide, first)
        found = unfitting(guided, alone)
        latent = sorted(name for name in found if not is_plate(alone.nodes[name]))
        if latent:
            warn(
                f"the guide's values of {', '.join(map(repr, latent))} belong to other "
                "observations than the data given: these sites are drawn from the model given the "
                "global ones"
            )
        if request.predictive == "new":
            found |= _of_observations(request, guided, alone)
        sampler = replace(sampler, from_model=found)
    return sampler


def _of_observations(
    request: Request, guided: poutine.Trace, alone: poutine.Trace
) -> frozenset[str]:
    """Latent sites in the plate of what is predicted, and that plate; none where it is not clear."""
    outcomes = [
        name for name, node in sites_in(alone) if node["is_observed"] or name not in guided.nodes
    ]
    try:
        plate = request.obs_plate or plate_of(alone, outcomes)
    except RequestError:
        return frozenset()  # reading them tells
    inside = {
        name
        for name, node in sites_in(alone)
        if name in guided.nodes
        and not node["is_observed"]
        and any(frame.name == plate for frame in node["cond_indep_stack"])
    }
    return frozenset(inside | {plate})


def trace_of(
    sampler: JointSampler, function: Callable[..., Any], first: Minibatch
) -> poutine.Trace:
    namer = sampler.namer()
    with no_validation(), namer, KeyedDraws(namer, sampler.where(range(1), first.index)):
        return poutine.trace(function).get_trace(*first.args, **first.kwargs)


def plate_of(trace: poutine.Trace, observed: Sequence[str]) -> str:
    """The one plate that all observed sites lie in, where nothing else tells the observations.

    Raises
    ------
    RequestError
        There is none, or there are several.
    """
    inside = [
        {frame.name for frame in trace.nodes[name]["cond_indep_stack"] if frame.dim is not None}
        for name in observed
        if name in trace.nodes
    ]
    plates = sorted(set.intersection(*inside)) if inside else []
    if len(plates) != 1:
        raise RequestError(
            "which rows are the observations cannot be told: name the plate with obs_plate= "
            f"(plates of all observed sites: {', '.join(map(repr, plates)) or 'none'})"
        )
    return plates[0]
