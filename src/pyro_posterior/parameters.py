"""Parameters and modes of the modules for the time of one call: own values, device, eval mode."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pyro
import torch
from pyro.nn import PyroModule
from pyro.params.param_store import param_with_module_name

from pyro_posterior.errors import RequestError
from pyro_posterior.warn import warn

logger = logging.getLogger(__name__)


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
    """Parameters that a `PyroModule` takes from the store, by their names there."""
    for part in _pyro_parts(modules):
        for name in part._pyro_params:
            yield _store_name(part, name), getattr(part, f"{name}_unconstrained")
        for name, value in part._parameters.items():
            if value is not None and not name.endswith("_unconstrained"):
                yield _store_name(part, name), value


def owned_parameters(modules: list[torch.nn.Module]) -> dict[str, torch.Tensor]:
    """All unconstrained parameters that live in the modules, by their names in Pyro's store.

    What else a guide finds in the store comes from bare ``pyro.param`` statements and lives
    nowhere but there.
    """
    owned = dict(_own_unconstrained(modules))
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
