"""Global sites have one value behind all minibatches; those that do not are found by drawing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.keys import FREE
from pyro_posterior.networks import modules_of
from pyro_posterior.reading.code import code_words, tensor_words
from pyro_posterior.reading.runs import picks_between_runs
from pyro_posterior.reading.survey import Survey
from pyro_posterior.warn import warn

#: Draws compared where the flow says that a global site may depend on the minibatch.
SUSPECT_DRAWS = 8

#: Largest difference between minibatches that is rounding, relative to the largest value.
ROUNDING = 1e-4


def differing_globals(
    sampler: JointSampler, seen: Survey, names: Iterable[str], minibatches: Iterable[Minibatch]
) -> dict[str, tuple[int, int]]:
    """Of these global sites, those that the same draw has other values for in two minibatches.

    Parameters
    ----------
    sampler
        With the names of all local sites, so that globals have the same random numbers behind
        every minibatch.
    seen, names
        The survey, and global sites of model and guide.
    minibatches
        All of them, in order; read again only where the flow says that a site may differ.

    Returns
    -------
    dict
        The two minibatches by site. Free randomness, a guide that looks at the minibatch, or a
        mean over its rows make such a site.
    """
    names = list(names)
    if not seen.several or not names:
        return {}
    found: dict[str, tuple[int, int]] = {}
    _compare(sampler, seen.kept, 0, names, found)
    suspects = [name for name in names if name not in found and _may_differ(sampler, seen, name)]
    for draw in range(1, SUSPECT_DRAWS if suspects else 1):
        left = [name for name in suspects if name not in found]
        _compare(sampler, (seen.first, seen.last), draw, left, found)
    left = [name for name in suspects if name not in found]
    if left and len(seen.kept) < len(seen.kinds):
        _compare(sampler, minibatches, 0, left, found)
    return found


def check_keyed(sampler: JointSampler, minibatch: Minibatch, names: list[str]) -> None:
    """Warn of sites that two runs of one draw have other values for: the seed does not fix them.

    Generators of the model's own (``numpy.random.default_rng()``, the operating system's) have no
    key; torch's, Python's and NumPy's global ones have.

    Raises
    ------
    RequestError
        What the model or guide keeps has changed from one run to the next, so that each draw is
        one from another model.
    """
    found: dict[str, tuple[int, int]] = {}
    before = _state(sampler)
    _compare(sampler, (minibatch, minibatch), 0, names, found)
    if not found:
        return
    shown = ", ".join(map(repr, found))
    for role, words in _state(sampler).items():
        if words != before[role]:
            raise RequestError(
                f"{shown}: two runs of the same draw gave other values, and the {role} keeps "
                "something that changes from run to run (a counter, an attribute, a buffer or a "
                "tensor from outside that is changed in place), so every draw would come from "
                "another model: compute a new value in every run, from the arguments, or leave out "
                f"what rests on it with exclude_sites={list(found)!r}"
            )
    picked = picks_between_runs(sampler, minibatch).sites & found.keys()
    if picked:
        raise RequestError(
            f"{', '.join(map(repr, sorted(picked)))}: the model or guide picks rows at random with a "
            "generator of its own, other ones in every run, so draws of it cannot be put together: "
            "take all rows as they come with the data (batch_size= cuts them)"
        )
    warn(
        f"{shown}: two runs of the same draw gave other values, so the same seed will not give "
        "the same numbers: the model or guide has random numbers of its own "
        "(numpy.random.default_rng()); draw them with torch or pyro.sample"
    )


def _state(sampler: JointSampler) -> dict[str, str]:
    """What model and guide keep, in words: numbers, texts, tensors and arrays that they reach."""
    return {
        role: code_words(function, attributes=True)
        + "".join(tensor_words(x) for module in modules_of(function) for x in module.buffers())
        for role, function in (("guide", sampler.guide), ("model", sampler.model))
    }


def _may_differ(sampler: JointSampler, seen: Survey, name: str) -> bool:
    for run in seen.runs:
        if run.flow is None or name not in run.flow.bits or run.flow.python_knew_arguments(name):
            return True
        arguments = run.flow.arguments_of(name)
        if any(i >= len(seen.stays) or seen.stays[i] == "differs" for i in arguments):
            return True
        if any(site == FREE or sampler.names_local(site) for site in run.flow.randomness_of(name)):
            return True
    return False


def _compare(
    sampler: JointSampler,
    minibatches: Iterable[Minibatch],
    draw: int,
    names: list[str],
    found: dict[str, tuple[int, int]],
) -> None:
    reference: dict[str, tuple[int, torch.Tensor]] = {}
    for minibatch in minibatches:
        for name, value in _values(sampler, minibatch, draw, names).items():
            index, first = reference.setdefault(name, (minibatch.index, value))
            if name not in found and not _close(first, value):
                found[name] = (index, minibatch.index)


def _values(
    sampler: JointSampler, minibatch: Minibatch, draw: int, names: list[str]
) -> Mapping[str, torch.Tensor]:
    values = {}
    for trace in sampler.traces(minibatch, draw):  # the model's values win, as in the results
        for name in names:
            if name in trace.nodes:
                values[name] = torch.as_tensor(trace.nodes[name]["value"]).detach().clone()
    return values


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not one.numel():
        return True
    a, b = one.double() if not one.is_complex() else one, other
    b = b.double() if not b.is_complex() else b
    finite = a[torch.isfinite(a)].abs()
    scale = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(a, b, rtol=ROUNDING, atol=ROUNDING * 1e-2 * scale, equal_nan=True)
