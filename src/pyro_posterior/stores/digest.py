"""Digests that tell one run from another: of parameters, data at both ends, and functions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any

import pyro
import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.joint import JointSampler
from pyro_posterior.reading.code import code_words
from pyro_posterior.reading.result import Reading
from pyro_posterior.reading.runs import params_met


def identity_of(
    sampler: JointSampler,
    reading: Reading,
    modules: Iterable[torch.nn.Module],
    device: torch.device,
    summary_fun: Sequence[Any] | None = None,
) -> dict[str, str]:
    """What a store keeps of model, guide, data and the caller's summaries, besides the plan.

    Parameters come from the modules and from the ``pyro.param`` statements that guide and model
    meet on the first minibatch (all of Pyro's where the last one meets others); data from the first and the last minibatch.
    """
    identity = {
        "parameters": _digest(_parameters(sampler, reading, modules)),
        "data": _digest(
            (f"{minibatch.index}.{place}", value)
            for minibatch in (reading.first, reading.last)
            for place, value in enumerate(tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0])
        ),
        "device": device.type,
    }
    if summary_fun is not None:
        identity["functions"] = words_digest(summary_fun)
    return identity


def words_digest(values: Sequence[Any]) -> str:
    """Digest of functions and plain values, the same in every process."""
    words = repr([code_words([value, _held(value)], attributes=True) for value in values])
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _held(fun: Any) -> Any:
    """What an object that is called, or whose method is, holds in its attributes."""
    owner = getattr(fun, "__self__", fun)
    return {} if isinstance(owner, FunctionType) else dict(getattr(owner, "__dict__", {}))


def _parameters(
    sampler: JointSampler, reading: Reading, modules: Iterable[torch.nn.Module]
) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for place, module in enumerate(modules):
        state = module.state_dict()
        found += [(f"{place}.{name}", state[name]) for name in sorted(state)]
    first = last = reading.params
    if reading.last.index != reading.first.index:
        last = params_met(*sampler.traces(reading.last, 0))
    found += sorted(first.items())
    if first.keys() != last.keys():  # every minibatch may have its own: all there are count
        found += sorted(pyro.get_param_store().named_parameters())
    return found


def _digest(named: Iterable[tuple[str, object]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in named:
        if not isinstance(value, torch.Tensor):
            continue
        value = value.detach().cpu()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        if value.layout != torch.strided:
            value = value.to_dense()
        if value.numel():
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
