"""Each model's own copy of Pyro's parameter store, kept from when the store was the model's own."""

from __future__ import annotations

import contextlib
import functools
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import pyro
import torch
from pyro.params.param_store import StateDict

from pyro_posterior.networks import modules_of
from pyro_posterior.parameters import owned_parameters

logger = logging.getLogger(__name__)

#: By ``id`` of the host's module, since it need not be hashable: a reference to it, and the copy.
_kept: dict[int, tuple[Callable[[], Any], StateDict]] = {}


def keep_parameters(model: Any) -> None:
    """Keep a copy of Pyro's parameter store for this model; call right after training or loading.

    Guides that call ``pyro.param`` keep fitted values nowhere but in Pyro's store, one dict for
    the whole process, which the next model clears or fills. `sample_posterior` uses this copy once
    the store is no longer the model's own.

    Parameters
    ----------
    model
        A host with ``module.model`` and ``module.guide``. Others are left alone.
    """
    module = getattr(model, "module", None)
    if module is not None:
        _keep(module, pyro.get_param_store().get_state())


def _keep(module: Any, state: StateDict) -> None:
    """Copy ``state`` if there is anything in it that does not live in the module."""
    if set(state["params"]) - set(owned_parameters(_parts(module))):
        number = id(module)
        try:
            reference: Callable[[], Any] = weakref.ref(module, lambda _: _kept.pop(number, None))
        except TypeError:  # a namespace, or a class with slots: it is kept alive with its copy
            reference = functools.partial(_same, module)
        _kept[number] = reference, _copy(state)


def _same(module: Any) -> Any:
    return module


def _kept_for(module: Any) -> StateDict | None:
    reference, state = _kept.get(id(module), (lambda: None, None))
    return state if reference() is module else None


@contextlib.contextmanager
def kept_parameters(module: Any) -> Iterator[bool]:
    """Pyro's store as it was when it was this module's own; unchanged where it still is.

    Gives whether the store is another model's and no copy was kept; it is empty then.

    Whose the store is shows in the parameters that live in the module as well (layers,
    ``PyroParam``): they have the same values in both. A guide of bare ``pyro.param`` statements
    alone shows nothing; it gets the copy of `keep_parameters` where there is one, else the store.
    """
    store = pyro.get_param_store()
    live = store.get_state()
    parts = _parts(module)
    owner = _owner(live, parts)
    if owner == "this":
        _keep(module, live)
        yield False
        return
    kept = _kept_for(module)
    if kept is not None and _owner(kept, parts) == "other":
        kept = None  # the module was fitted further since
    if kept is not None:
        logger.info("this model's parameters are taken from the copy kept of pyro's store")
        with store.scope(_copy(kept)):
            yield False
    elif owner == "other":
        with store.scope(cast("StateDict", {"params": {}, "constraints": {}})):
            yield True
    else:
        yield False


def _parts(module: Any) -> list[torch.nn.Module]:
    model, guide = getattr(module, "model", None), getattr(module, "guide", None)
    return modules_of(*(part for part in (model, guide) if callable(part)))


def _owner(state: StateDict, parts: list[torch.nn.Module]) -> Literal["this", "other", "unknown"]:
    """Whose parameters a store holds, as far as the modules' own tell."""
    stored = state["params"]
    owned = owned_parameters(parts)
    shared = [(value, stored[name]) for name, value in owned.items() if name in stored]
    if not shared:
        return "unknown"
    return "this" if all(_equal(a, b) for a, b in shared) else "other"


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a is b:
        return True
    return a.shape == b.shape and torch.equal(a.detach().cpu(), b.detach().cpu())


def _copy(state: StateDict) -> StateDict:
    with torch.inference_mode(False):  # or the copies could not be used outside it
        params = {
            name: value.detach().clone().requires_grad_(value.requires_grad)
            for name, value in state["params"].items()
        }
    return cast("StateDict", {"params": params, "constraints": dict(state["constraints"])})
