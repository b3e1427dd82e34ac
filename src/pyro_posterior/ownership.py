"""Whose a parameter in Pyro's store is, where it is not the one that lives in the module.

Pyro has one store for all models of a process, by name. A name may hold another tensor than the
module that is going to run, for two reasons that call for opposite things: values were loaded or set
for this module and it takes them over when it runs next; or another model of the same names came
since. What tells them apart is what torch and Pyro keep of both tensors:

* a tensor that is a parameter of another living `PyroModule` is that one's;
* the store remembers every tensor it held since it was last cleared: if this module's own one is
  among them, the store was this module's and its value was replaced on purpose;
* in a store that was cleared or is new to this module, a tensor that was optimised in this process
  was fitted as another model's; one that never was but has the values of another living
  `PyroModule`, while this module has fitted values of its own, was loaded together with that one;
  any other was loaded for this one, or set by hand.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule


def others(
    own: Mapping[str, torch.Tensor],
    modules: Iterable[torch.nn.Module],
) -> set[str]:
    """Names whose tensor in Pyro's store is another model's.

    Parameters
    ----------
    own
        The parameters that live in ``modules``, by their names in the store.
    """
    differing = _differing(own)
    lived_in = _parameters_of_other_modules(differing.values(), modules)
    found = {
        name
        for name, stored in differing.items()
        if id(stored) in lived_in or (was_optimised(stored) and not _was_here(own[name]))
    }
    loaded = {
        name: stored
        for name, stored in differing.items()
        if name not in found and not _was_here(own[name]) and was_optimised(own[name])
    }
    return found | _with_values_of_other_modules(loaded, modules)


def from_elsewhere(own: Mapping[str, torch.Tensor]) -> bool:
    """Whether the store has other values and was cleared, or is new to this module."""
    return not all(_was_here(own[name]) for name in _differing(own))


def _differing(own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    stored = pyro.get_param_store()._params
    return {n: stored[n] for n, value in own.items() if n in stored and differ(stored[n], value)}


def _was_here(tensor: torch.Tensor) -> bool:
    """Whether Pyro's store has held this tensor since it was last cleared."""
    return tensor in pyro.get_param_store()._param_to_name


def differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors, on any devices, have other values."""
    if one is other:
        return False
    return one.shape != other.shape or not torch.equal(one.detach().cpu(), other.detach().cpu())


def was_optimised(tensor: torch.Tensor) -> bool:
    """Whether an optimiser changed it in this process; loading from a file is one change by torch."""
    if tensor.is_leaf and tensor.grad is not None:
        return True
    return not tensor.is_inference() and tensor._version > 1


def _parameters_of_other_modules(
    tensors: Iterable[torch.Tensor], modules: Iterable[torch.nn.Module]
) -> set[int]:
    """Numbers (``id``) of those tensors that are registered in other `PyroModule`s than these."""
    wanted = {id(tensor): tensor for tensor in tensors}
    if not wanted:
        return set()
    mine = {id(part._parameters) for module in modules for part in module.modules()}
    found: set[int] = set()
    for holder in gc.get_referrers(*wanted.values()):
        if type(holder) is dict and id(holder) not in mine and _is_registry(holder):
            found.update(id(value) for value in holder.values() if id(value) in wanted)
    return found


def _with_values_of_other_modules(
    stored: Mapping[str, torch.Tensor], modules: Iterable[torch.nn.Module]
) -> set[str]:
    """Names of those tensors whose values another living module has as well.

    A model that is loaded puts values both into its module and into the store, as two tensors.
    """
    if not stored:
        return set()
    mine = {id(part) for module in modules for part in module.modules()}
    gc.collect()  # a module that nobody can reach any more is not living
    living = [
        value
        for part in gc.get_objects()
        if issubclass(type(part), torch.nn.Module) and id(part) not in mine
        for value in part.__dict__.get("_parameters", {}).values()
        if value is not None
    ]
    return {
        name
        for name, tensor in stored.items()
        if any(value.shape == tensor.shape and not differ(value, tensor) for value in living)
    }


def _is_registry(held: dict[Any, Any]) -> bool:
    """Whether a dict is where a `PyroModule` keeps its parameters."""
    for holder in gc.get_referrers(held):
        if isinstance(holder, PyroModule) and holder.__dict__.get("_parameters") is held:
            return True
        if type(holder) is dict and holder.get("_parameters") is held and "_pyro_params" in holder:
            return True
    return False
