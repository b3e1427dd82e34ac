"""Digests that tell one run from another: of parameters, data at both ends, and functions."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from types import CodeType, FunctionType
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Minibatch
from pyro_posterior.joint import JointSampler


def identity_of(
    sampler: JointSampler,
    modules: Iterable[torch.nn.Module],
    ends: tuple[Minibatch, Minibatch],
    device: torch.device,
    summary_fun: Sequence[Any] | None = None,
) -> dict[str, str]:
    """What a store keeps of model, guide, data and the caller's summaries, besides the plan.

    Parameters come from the modules and from the ``pyro.param`` statements that guide and model
    meet on the first minibatch; data from the first and the last minibatch.
    """
    identity = {
        "parameters": _digest(_parameters(sampler, modules, ends[0])),
        "data": _digest(
            (f"{minibatch.index}.{place}", value)
            for minibatch in ends
            for place, value in enumerate(tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0])
        ),
        "device": device.type,
    }
    if summary_fun is not None:
        words = repr([_words(fun) for fun in summary_fun])
        identity["functions"] = hashlib.blake2b(words.encode(), digest_size=16).hexdigest()
    return identity


def _words(value: Any, within: tuple[Any, ...] = ()) -> Any:
    """What tells a function from another, the same in every process: its name, or its code.

    A function that can be imported goes by its name; a lambda or one of ``__main__`` by its
    instructions, constants, defaults and what it closes over.
    """
    if isinstance(value, functools.partial):
        return [_words(part, within) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, CodeType):
        return [value.co_code.hex(), value.co_names, _words(value.co_consts, within)]
    if isinstance(value, FunctionType) and value not in within:
        if "<" in value.__qualname__ or value.__module__ == "__main__":
            inside = [cell.cell_contents for cell in value.__closure__ or ()]
            parts = (value.__code__, value.__defaults__, value.__kwdefaults__, inside)
            return [_words(part, (*within, value)) for part in parts]
        return [value.__module__, value.__qualname__]
    if isinstance(value, list | tuple):
        return [_words(item, within) for item in value]
    if isinstance(value, dict):
        return [[key, _words(item, within)] for key, item in sorted(value.items())]
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return [getattr(value, "__module__", ""), name]


def _parameters(
    sampler: JointSampler, modules: Iterable[torch.nn.Module], first: Minibatch
) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for place, module in enumerate(modules):
        state = module.state_dict()
        found += [(f"{place}.{name}", state[name]) for name in sorted(state)]
    for role, trace in zip(("guide", "model"), sampler.traces(first, 0), strict=True):
        nodes = {name: node for name, node in trace.nodes.items() if node["type"] == "param"}
        found += [(f"{role}.{name}", nodes[name]["value"]) for name in sorted(nodes)]
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
