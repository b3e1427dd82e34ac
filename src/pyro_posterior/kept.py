"""Each model's own copy of Pyro's parameter store, kept from when the store was the model's own."""

from __future__ import annotations

import contextlib
import functools
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import pyro
import torch
from pyro.params.param_store import StateDict

from pyro_posterior.networks import modules_of
from pyro_posterior.ownership import differ, from_elsewhere, others
from pyro_posterior.parameters import owned_parameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Kept:
    """What is kept for one module of a host."""

    module: Callable[[], Any]  # a reference to it, alive as long as it is
    state: StateDict  # a copy of Pyro's store
    tensors: Mapping[str, Callable[[], torch.Tensor | None]]  # those that the store held then


#: By ``id`` of the host's module, since it need not be hashable.
_kept: dict[int, _Kept] = {}


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
        tensors = {name: weakref.ref(value) for name, value in state["params"].items()}
        _kept[number] = _Kept(reference, _copy(state), tensors)


def _same(module: Any) -> Any:
    return module


@contextlib.contextmanager
def kept_parameters(module: Any) -> Iterator[bool]:
    """Pyro's store as it was when it was this module's own; unchanged where it still is.

    Gives whether the store is another model's and no copy was kept; it is empty then.

    Whose the store is shows in the parameters that live in the module as well (layers,
    ``PyroParam``); see `pyro_posterior.ownership`. A guide of bare ``pyro.param`` statements alone
    shows nothing; it gets the copy of `keep_parameters` where there is one, unless that store was
    loaded anew since; else the store.
    """
    store = pyro.get_param_store()
    live = store.get_state()
    parts = _parts(module)
    owner = _owner(live, parts)
    if owner == "this":
        _keep(module, live)
        yield False
        return
    kept = _kept.get(id(module))
    if kept is not None and (kept.module() is not module or not _fits(kept.state, parts)):
        kept = None  # another module, or it was fitted further since
    if kept is not None and not (owner == "unknown" and _replaced(kept, live)):
        logger.info("this model's parameters are taken from the copy kept of pyro's store")
        with store.scope(_copy(kept.state)):
            yield False
    elif owner == "other":
        with store.scope(cast("StateDict", {"params": {}, "constraints": {}})):
            yield True
    else:
        yield False


def _parts(module: Any) -> list[torch.nn.Module]:
    model, guide = getattr(module, "model", None), getattr(module, "guide", None)
    return modules_of(*(part for part in (model, guide) if callable(part)))


def _owner(
    live: StateDict, parts: list[torch.nn.Module]
) -> Literal["this", "other", "unclear", "unknown"]:
    """Whose Pyro's store is, as far as the parameters that live in the modules tell."""
    shared = {n: value for n, value in owned_parameters(parts).items() if n in live["params"]}
    if not shared:
        return "unknown"
    if others(shared, parts):
        return "other"
    return "unclear" if from_elsewhere(shared) else "this"  # loaded, or of a model that is gone


def _fits(state: StateDict, parts: list[torch.nn.Module]) -> bool:
    """Whether a copy has the values that live in the modules."""
    stored = state["params"]
    own = owned_parameters(parts)
    return not any(differ(value, stored[name]) for name, value in own.items() if name in stored)


def _replaced(kept: _Kept, live: StateDict) -> bool:
    """Whether values were loaded or set, for this model, in the store that was kept.

    The store remembers what it held until it is cleared. Where another model was kept since, what
    it holds now is that one's.
    """
    known = pyro.get_param_store()._param_to_name
    changed = [
        value
        for name, value in live["params"].items()
        if name in kept.tensors
        and (before := kept.tensors[name]()) is not None
        and before is not value
        and before in known
    ]
    claimed = {
        id(tensor())
        for other in _kept.values()
        if other is not kept
        for tensor in other.tensors.values()
    }
    return bool(changed) and not any(id(value) in claimed for value in changed)


def _copy(state: StateDict) -> StateDict:
    with torch.inference_mode(False):  # or the copies could not be used outside it
        params = {
            name: value.detach().clone().requires_grad_(value.requires_grad)
            for name, value in state["params"].items()
        }
    return cast("StateDict", {"params": params, "constraints": dict(state["constraints"])})
