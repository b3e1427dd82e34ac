"""Pyro's parameter store for the time of one call: which values model and guide find there."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pyro
import torch
from pyro.infer.autoguide.effect import AutoMessenger
from pyro.nn import PyroModule
from pyro.params.param_store import param_with_module_name

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import copied
from pyro_posterior.ownership import differ, others, was_optimised
from pyro_posterior.raised import naming
from pyro_posterior.reading.watches import DataChanged, UnchangedData
from pyro_posterior.warn import warn

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def own_parameters(modules: list[torch.nn.Module], device: torch.device) -> Iterator[None]:
    """Pyro's parameter store for one call: what these modules would find in it, were they alone.

    Pyro keeps the parameters of all models of a process in one dict by name, and a `PyroModule`
    takes what it finds there. Here it finds what was loaded or set for it, and not what another
    model left there (see `pyro_posterior.ownership`); the rest (``pyro.param`` statements) is in the
    store alone. All is on ``device``. Store and modules have their own parameters again on leaving.
    """
    store = pyro.get_param_store()
    before = store._params, store._param_to_name, store._constraints
    lived = [(part, dict(part._parameters)) for part in _pyro_parts(modules)]
    left_out = _left_out(modules)
    store._params = {
        name: value if value.device == device else value.detach().to(device).requires_grad_()
        for name, value in before[0].items()
        if name not in left_out
    }
    store._constraints = {n: value for n, value in before[2].items() if n in store._params}
    store._param_to_name = {value: name for name, value in store._params.items()}
    try:
        yield
    finally:
        store._params, store._param_to_name, store._constraints = before
        for part, parameters in lived:
            for name, value in parameters.items():
                if part._parameters.get(name) is not value:
                    part._parameters[name] = value


def _left_out(modules: list[torch.nn.Module]) -> set[str]:
    """Names for which the module's own parameter is used, whatever Pyro's store holds."""
    own: dict[str, torch.Tensor] = {}
    plain: set[str] = set()  # Pyro never takes a plain nn.Parameter from the store
    shared: set[str] = set()  # two of these modules have other parameters of one name
    for name, value, constrained in _named_parameters(modules):
        if own.setdefault(name, value) is not value:
            shared.add(name)
        if not constrained:
            plain.add(name)
    found = plain | shared
    foreign = others(own, modules)
    if foreign:
        logger.info(
            "%d parameters of this guide and model are also in pyro's parameter store with other "
            "values (of another model?), for example %r: the module's own are used",
            len(foreign),
            min(foreign),
        )
    stored = pyro.get_param_store()._params
    if ignored := [n for n in sorted(plain - foreign) if n in stored and differ(stored[n], own[n])]:
        warn(
            f"pyro's parameter store holds another value of {ignored[0]!r} than the module itself "
            f"({len(ignored)} such parameters), loaded or set there: Pyro takes only PyroParam "
            "parameters from its store, so the module's own is used; load the module's state_dict "
            "instead"
        )
    return found | foreign


def _named_parameters(
    modules: list[torch.nn.Module],
) -> Iterator[tuple[str, torch.Tensor, bool]]:
    """Parameters of `PyroModule`s, unconstrained: name in the store, value, whether a `PyroParam`."""
    for part in _pyro_parts(modules):
        for name in part._pyro_params:
            yield _store_name(part, name), getattr(part, f"{name}_unconstrained"), True
        for name, value in part._parameters.items():
            if value is not None and not name.endswith("_unconstrained"):
                yield _store_name(part, name), value, False


def owned_parameters(modules: list[torch.nn.Module]) -> dict[str, torch.Tensor]:
    """All unconstrained parameters that live in the modules, by their names in Pyro's store.

    What else a guide finds in the store comes from bare ``pyro.param`` statements and lives
    nowhere but there.
    """
    owned = {name: value for name, value, _ in _named_parameters(modules)}
    for part in _pyro_parts(modules):
        for child_name, child in part._modules.items():
            if child is None or isinstance(child, PyroModule):
                continue
            prefix = _store_name(part, child_name)
            for name, value in child.named_parameters():
                owned[param_with_module_name(prefix, name)] = value
    return owned


def _pyro_parts(modules: list[torch.nn.Module]) -> Iterator[PyroModule]:
    for module in modules:
        for part in module.modules():
            if isinstance(part, PyroModule):
                yield part


def _store_name(part: PyroModule, name: str) -> str:
    """As ``part._pyro_get_fullname(name)``, which refuses for a module never called."""
    prefix = part.__dict__["_pyro_name"]
    return f"{prefix}.{name}" if prefix else name


def stored_names() -> set[str]:
    """Names in Pyro's parameter store."""
    return set(pyro.get_param_store().get_state()["params"])


def set_up_guide(guide: Any, first: Minibatch, seed: int) -> None:
    """Let an autoguide that was never run make its parameters, the random ones from the seed.

    Those that were loaded into Pyro's store, or that another guide left there, it finds there; what
    it makes anew is said to be no fitted value.
    """
    messenger = isinstance(guide, AutoMessenger) and not list(guide.parameters())
    if not messenger and getattr(guide, "prototype_trace", True) is not None:
        return
    before = dict(pyro.get_param_store()._params)
    try:
        with UnchangedData(first):
            _run_once(guide, first, seed)
    except DataChanged:
        _run_once(guide, copied(first), seed)
    names = [name for name, _, _ in _named_parameters([guide])]
    if not names or not set(names) <= before.keys():
        warn(
            "the guide has never been run: it is set up on the first minibatch and its parameters "
            "are the initial ones, not fitted ones"
        )
    elif any(was_optimised(before[name]) for name in names):
        warn(
            "the guide has never been run: its parameters are those that another guide of the same "
            "names has left in pyro's parameter store"
        )


def _run_once(guide: Any, first: Minibatch, seed: int) -> None:
    torch.manual_seed(seed % 2**63)
    with torch.no_grad(), naming("guide", first):
        guide(*first.args, **first.kwargs)


def check_fitted(before: set[str], modules: list[torch.nn.Module], *, trained: bool) -> None:
    """Say so where running guide and model made parameters anew, from their initial values.

    ``before`` are the `stored_names` before the first run, ``trained`` whether the host says that
    it was fitted.

    Raises
    ------
    RequestError
        Parameters of a fitted model are gone from Pyro's store.
    """
    new = sorted(stored_names() - before - set(owned_parameters(modules)))
    if not new:
        return
    names = ", ".join(map(repr, new[:5])) + (", ..." if len(new) > 5 else "")
    if trained:
        raise RequestError(
            f"the model is trained, but its parameters {names} are not in pyro's parameter store, "
            "the only place where pyro.param statements keep them: another model has been made, "
            "trained or loaded in this process since. Load this model again just before, or call "
            "pyro_posterior.scvi.use_in() (or keep_parameters(model)) before the other one comes"
        )
    warn(f"{names} were never fitted: pyro.param statements made them from their initial values")
