"""Parameters and modes of the modules for the time of one call: own values, device, eval mode."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule

logger = logging.getLogger(__name__)


def modules_of(*functions: Callable[..., Any]) -> list[torch.nn.Module]:
    """The modules behind callables: themselves, the owners of bound methods, inside partials.

    Pyro's handlers (``poutine.block(model)``) are partials that hold the model as an argument.
    """
    found: list[torch.nn.Module] = []
    waiting: list[Any] = list(functions)
    while waiting:
        function = waiting.pop(0)
        if isinstance(function, functools.partial):
            inside = (function.func, *function.args, *function.keywords.values())
            waiting += [value for value in inside if callable(value)]
            continue
        for owner in (function, getattr(function, "__self__", None)):
            if isinstance(owner, torch.nn.Module):
                if all(owner is not other for other in found):
                    found.append(owner)
                break
    return found


@contextlib.contextmanager
def own_parameters(modules: list[torch.nn.Module], device: torch.device) -> Iterator[None]:
    """Pyro's parameter store for one call, in which a module's own parameters win.

    Pyro keeps the parameters of all models of a process in one dict by name, and a `PyroModule`
    takes what it finds there: a model fitted or loaded later under the same names would lend this
    one its parameters. Here, names that belong to ``modules`` are taken from the modules; the rest
    (``pyro.param`` statements) from the store, moved to ``device``. The caller's store is put back.
    """
    store = pyro.get_param_store()
    state = store.get_state()
    foreign = [
        name
        for name, own in _own_unconstrained(modules)
        if name in state["params"] and state["params"][name] is not own
    ]
    if foreign:
        logger.info(
            "%d parameters of this guide and model are also in pyro's parameter store with other "
            "values (of another model?), for example %r: the module's own are used",
            len(foreign),
            foreign[0],
        )
    params = {
        name: value if value.device == device else value.detach().to(device).requires_grad_()
        for name, value in state["params"].items()
        if name not in foreign
    }
    kept = {name: value for name, value in state["constraints"].items() if name in params}
    with store.scope({"params": params, "constraints": kept}):
        yield


def _own_unconstrained(modules: list[torch.nn.Module]) -> Iterator[tuple[str, torch.Tensor]]:
    for module in modules:
        for part in module.modules():
            if not isinstance(part, PyroModule):
                continue
            for name in part._pyro_params:
                yield part._pyro_get_fullname(name), getattr(part, f"{name}_unconstrained")
            for name, value in part._parameters.items():
                if value is not None and not name.endswith("_unconstrained"):
                    yield part._pyro_get_fullname(name), value


@contextlib.contextmanager
def placed(modules: list[torch.nn.Module], device: torch.device) -> Iterator[None]:
    """Modules on ``device`` and in eval mode; both put back on leaving."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    homes = [(module, _device_of(module)) for module in modules]
    try:
        for module, home in homes:
            module.eval()
            if home is not None and home != device:
                module.to(device)
        yield
    finally:
        for module, home in homes:
            if home is not None and home != device:
                module.to(home)
        for part, training in modes:
            part.training = training


def _device_of(module: torch.nn.Module) -> torch.device | None:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return None
