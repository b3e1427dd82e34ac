"""What a command is pointed at: a saved scvi-tools model, or a function that returns a fit."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from pyro_posterior.batches import Batches, open_batches
from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.mixin import PyroSampleMixin, obs_plate_of
from pyro_posterior.posterior import Posterior
from pyro_posterior.randomness import untouched_random_state
from pyro_posterior.sampling import sample_posterior
from pyro_posterior.sites import SiteTable, read_sites

_MODEL_FILE = "model.pt"
_SCVI_MODULES = ("scvi.model", "scvi.external", "cell2location.models")


@dataclass(frozen=True)
class FunctionTarget:
    """Arguments of `sample_posterior` as a user's function returned them."""

    arguments: Mapping[str, Any]

    def sample(self, options: Mapping[str, Any]) -> Posterior:
        """Draw; ``options`` win over what the function returned."""
        return sample_posterior(**{**self.arguments, **options})

    def sites(self, options: Mapping[str, Any]) -> SiteTable:
        """All sites of the model, without sampling."""
        given = {**self.arguments, **options}
        batches = open_batches(
            given["data"], given.get("batch_size"), given.get("to_args"), torch.device("cpu")
        )
        return _read(given["model"], given["guide"], batches, given.get("obs_plate"))


@dataclass(frozen=True)
class HostTarget:
    """A trained scvi-tools model."""

    host: Any

    def sample(self, options: Mapping[str, Any]) -> Posterior:
        """Draw; the data are the model's own."""
        given = dict(options)
        for name in ("obs_plate", "to_args"):
            if name in given:
                raise RequestError(
                    f"{_flag(name)} is for functions: a saved model knows this by itself"
                )
        if "exclude_sites" in given:
            given["exclude_vars"] = given.pop("exclude_sites")
        return PyroSampleMixin.sample_posterior(self.host, **given)

    def sites(self, options: Mapping[str, Any]) -> SiteTable:
        """All sites of the model, without sampling."""
        host, module = self.host, self.host.module
        size = options.get("batch_size")
        loader = host._make_data_loader(adata=host.adata, batch_size=size, shuffle=False)
        batches = open_batches(loader, None, module._get_fn_args_from_batch, torch.device("cpu"))
        return _read(module.model, module.guide, batches, obs_plate_of(module))


def load_target(
    text: str, adata: str | None = None, model_class: str | None = None
) -> FunctionTarget | HostTarget:
    """The fit that ``text`` names: a model directory, or ``module:function``.

    Parameters
    ----------
    text
        A directory saved by a scvi-tools model, or ``module:function`` or ``file.py:function`` of
        a function without arguments that returns ``(model, guide, data)`` or a dict of arguments
        of `sample_posterior`.
    adata
        The ``.h5ad`` file of a saved model.
    model_class
        ``module:Class`` of a saved model whose class is not one of scvi-tools or cell2location.

    Raises
    ------
    RequestError
        Nothing of that name, or it returned something else.
    """
    folder = Path(text)
    if folder.is_dir():
        if not (folder / _MODEL_FILE).is_file():
            raise RequestError(
                f"{text!r} is a directory without {_MODEL_FILE}: give the directory that a "
                "scvi-tools model was saved to, or module:function"
            )
        return HostTarget(_load_host(folder, adata, model_class))
    for name, value in (("--adata", adata), ("--model-class", model_class)):
        if value is not None:
            raise RequestError(f"{name} goes with the directory of a saved model; {text!r} is none")
    returned = find_function(text)()
    if isinstance(returned, Mapping):
        arguments = dict(returned)
    elif isinstance(returned, tuple) and len(returned) == 3:
        arguments = dict(zip(("model", "guide", "data"), returned, strict=True))
    else:
        raise RequestError(
            f"{text} must return (model, guide, data) or a dict of arguments of sample_posterior, "
            f"found {type(returned).__name__}"
            + (f" of {len(returned)}" if isinstance(returned, tuple) else "")
        )
    known = set(inspect.signature(sample_posterior).parameters)
    if unknown := sorted(set(arguments) - known):
        raise RequestError(f"{text} returned {unknown[0]!r}, which sample_posterior does not take")
    if lacking := [name for name in ("model", "guide", "data") if name not in arguments]:
        raise RequestError(f"{text} returned a dict without {lacking[0]!r}")
    return FunctionTarget(arguments)


def find_function(text: str) -> Callable[..., Any]:
    """The function that ``module:function`` or ``file.py:function`` names.

    Raises
    ------
    RequestError
        No such module, file or function.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise RequestError(f"{text!r} is neither a directory nor of the form module:function")
    module = _module_of_file(Path(where)) if where.endswith(".py") else _module(where)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        public = sorted(key for key, value in vars(module).items() if callable(value))
        names = ", ".join(key for key in public if not key.startswith("_"))
        raise RequestError(f"{where} has no function {name!r}; it has: {names or 'none'}")
    function: Callable[..., Any] = found
    return function


def _read(model: Any, guide: Any, batches: Batches, obs_plate: str | None) -> SiteTable:
    with untouched_random_state():
        first, second = batches.first_two()
        sampler = JointSampler(model, guide, 0, obs_plate)
        if getattr(guide, "prototype_trace", True) is None:  # an autoguide never run
            guide(*first.args, **first.kwargs)
        table = read_sites(sampler, first, sampler.traces(first, 0), needs_plate=second is not None)
        return replace(table, missing=())


def _module(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise RequestError(
            f"there is no module {name!r} in the current folder or among the installed ones"
        ) from error


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise RequestError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    return module


def _load_host(folder: Path, adata: str | None, model_class: str | None) -> Any:
    if adata is None:
        raise RequestError(
            f"{str(folder)!r} is a saved model: give its data with --adata file.h5ad"
        )
    if not Path(adata).is_file():
        raise RequestError(f"--adata: there is no file {adata!r}")
    try:
        import anndata

        import scvi  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("scvi-tools", "scvi", "a saved scvi-tools model") from error
    cls = find_function(model_class) if model_class else _class_of(folder)
    load = getattr(cls, "load", None)
    if load is None:
        raise RequestError(f"--model-class {model_class} has no load(): give a model's class")
    return load(str(folder), adata=anndata.read_h5ad(adata))


def _class_of(folder: Path) -> Any:
    """The class that the saved registry names, by looking where such classes live."""
    saved = torch.load(folder / _MODEL_FILE, map_location="cpu", weights_only=False)
    name = saved.get("attr_dict", {}).get("registry_", {}).get("model_name")
    if name is None:
        raise RequestError(
            f"{str(folder / _MODEL_FILE)!r} does not name its class: give --model-class module:Class"
        )
    for module in _SCVI_MODULES:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError:
            continue
        if found is not None:
            return found
    raise RequestError(
        f"the saved model is a {name!r}, which is not in {', '.join(_SCVI_MODULES)}: give "
        f"--model-class module:{name}"
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
