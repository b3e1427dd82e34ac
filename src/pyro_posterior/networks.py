"""The networks behind model and guide, wherever these keep them: eval mode and device for one call.

`modules_of` follows what a callable can reach: the owner of a bound method, arguments of partials,
closures, the globals and attributes that its code names, containers and plain objects. What that
does not find (a registry, an import within a function) is met when it runs: see `evaluating`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook

from pyro_posterior.errors import RequestError

#: Packages whose own objects and globals hold no network of the caller's.
_FOREIGN = sys.stdlib_module_names | {
    *("torch", "pyro", "numpy", "scipy", "pandas", "anndata", "xarray", "zarr", "dask", "sklearn"),
    *("lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics", "jax", "matplotlib"),
}

#: Containers with more items than this hold data.
_MANY = 10_000

#: Things looked at before the search ends; a model reaches a few hundred.
_ENOUGH = 50_000

#: Layers that draw, or learn from what they see, in training mode.
_DIFFERENT_IN_TRAINING = (_DropoutNd, _NormBase, torch.nn.RReLU)

_CONTAINERS = (list, tuple, set, frozenset, deque)


def modules_of(*functions: Callable[..., Any]) -> list[torch.nn.Module]:
    """The outermost modules that callables can reach, those nearest to them first."""
    found: list[torch.nn.Module] = []
    parts: set[int] = set()  # of the modules found, without themselves
    seen: dict[int, Any] = {}  # kept alive, or numbers would be given again
    waiting: deque[Any] = deque(functions)
    while waiting and len(seen) < _ENOUGH:
        value = waiting.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, torch.nn.Module):
            found.append(value)
            parts.update(id(part) for part in value.modules() if part is not value)
        waiting.extend(_reached_from(value))
    return [module for module in found if id(module) not in parts]


def _reached_from(value: Any) -> Iterator[Any]:
    """What a value leads to in one step."""
    if value is None or isinstance(value, torch.Tensor | str | bytes | int | float):
        return
    if isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from _reached_from_function(value)
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property | functools.cached_property):
        yield from (getattr(value, "fget", None), getattr(value, "func", None))
    elif isinstance(value, dict):
        if len(value) <= _MANY:
            yield from value.values()
    elif isinstance(value, _CONTAINERS):
        if len(value) <= _MANY:
            yield from value
    elif isinstance(value, type):
        if not _is_foreign(value.__module__):
            yield from vars(value).values()
    elif isinstance(value, torch.nn.Module | types.SimpleNamespace) or not _is_foreign(
        type(value).__module__
    ):
        yield from _attributes(value)
        yield from type(value).__mro__


def _reached_from_function(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            yield cell.cell_contents
    yield from (function.__defaults__, function.__kwdefaults__, vars(function))
    if not _is_foreign(function.__globals__.get("__name__", "")):
        names = _names(function.__code__)
        yield from _named(function.__globals__, names, set())


def _names(code: types.CodeType) -> set[str]:
    """Globals and attributes that a function's code names, functions within it included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _named(space: dict[str, Any], names: set[str], within: set[int]) -> Iterator[Any]:
    """Values of these names in a module's globals, and in the modules that these are."""
    for name in sorted(names & space.keys()):
        value = space[name]
        if not isinstance(value, types.ModuleType):
            yield value
        elif id(value) not in within and not _is_foreign(value.__name__):
            within.add(id(value))
            yield from _named(vars(value), names, within)


def _attributes(value: Any) -> Iterator[Any]:
    yield from getattr(value, "__dict__", {}).values()
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            with contextlib.suppress(AttributeError):
                yield object.__getattribute__(value, name)


def _is_foreign(name: str | None) -> bool:
    top, _, rest = (name or "").partition(".")
    if top == "pyro_posterior":  # which code that calls it reaches; its models are the demo's
        return not rest.startswith(("demo", "testing"))
    return top in _FOREIGN and name != "__main__"


# ---------------------------------------------------------------------------------- for one call


@contextlib.contextmanager
def evaluating(modules: list[torch.nn.Module]) -> Iterator[None]:
    """These modules, and whatever other one this thread runs, in eval mode; put back on leaving."""
    modes: dict[int, tuple[torch.nn.Module, bool]] = {}

    def evaluate(module: torch.nn.Module) -> None:
        for part in module.modules():
            modes.setdefault(id(part), (part, part.training))
        module.eval()

    thread = threading.get_ident()

    def met(module: torch.nn.Module, args: Any) -> None:
        if module.training and threading.get_ident() == thread:
            evaluate(module)
            if module.training and isinstance(module, _DIFFERENT_IN_TRAINING):
                raise RequestError(
                    f"a {type(module).__name__} stays in training mode though its eval() was called, "
                    "so it would draw at random or change its running statistics: let its train() "
                    "and eval() set module.training, or draw what is random with pyro.sample"
                )

    hook = register_module_forward_pre_hook(met)
    try:
        for module in modules:
            evaluate(module)
        yield
    finally:
        hook.remove()
        for part, training in modes.values():
            part.training = training


@contextlib.contextmanager
def placed(modules: list[torch.nn.Module], device: torch.device) -> Iterator[None]:
    """Modules on ``device``; on leaving they are where they were, with the buffers they had."""
    homes = [(module, home) for module in modules if (home := _device_of(module)) is not None]
    buffers = [
        (part, name, buffer, _version(buffer), buffer.clone())
        for module in modules
        for part in module.modules()
        for name, buffer in part._buffers.items()
        if buffer is not None
    ]
    try:
        for module, home in homes:
            if home != device:
                module.to(device)
        yield
    finally:
        for module, home in homes:
            if home != device:
                module.to(home)
        for part, name, buffer, version, value in buffers:
            if _version(buffer) != version:
                buffer.copy_(value)
            part._buffers[name] = buffer


def _version(tensor: torch.Tensor) -> int:
    """How often a tensor was changed in place; -1 where torch does not count."""
    return -1 if tensor.is_inference() else tensor._version


def _device_of(module: torch.nn.Module) -> torch.device | None:
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return None
