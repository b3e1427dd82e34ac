"""What a command is pointed at: a saved scvi-tools model, or a function that returns a fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyro_posterior.batches import Batches, open_batches
from pyro_posterior.errors import RequestError
from pyro_posterior.functions import find_function
from pyro_posterior.hosts import obs_plate_of
from pyro_posterior.joint import JointSampler
from pyro_posterior.keyed.state import untouched_random_state
from pyro_posterior.mixin import PyroSampleMixin
from pyro_posterior.posterior import Posterior
from pyro_posterior.reading.read import read
from pyro_posterior.reading.result import Reading
from pyro_posterior.sampling import sample_posterior
from pyro_posterior.saved import load_saved


@dataclass(frozen=True)
class FunctionTarget:
    """Arguments of `sample_posterior` as a user's function returned them."""

    arguments: Mapping[str, Any]

    def sample(self, options: Mapping[str, Any]) -> Posterior:
        """Draw; ``options`` win over what the function returned."""
        return sample_posterior(**{**self.arguments, **options})

    def sites(self, options: Mapping[str, Any]) -> Reading:
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

    def sites(self, options: Mapping[str, Any]) -> Reading:
        """All sites of the model, without sampling."""
        host, module = self.host, self.host.module
        size = options.get("batch_size")
        loader = host._make_data_loader(adata=host.adata, batch_size=size, shuffle=False)
        batches = open_batches(loader, None, module._get_fn_args_from_batch, torch.device("cpu"))
        return _read(module.model, module.guide, batches, obs_plate_of(module))


def load_target(
    text: str, adata: str | None = None, model_class: str | None = None, *, backed: bool = False
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
    backed
        Leave the matrix of a saved model's data in its file.

    Raises
    ------
    RequestError
        Nothing of that name, or it returned something else.
    """
    folder = Path(text)
    if folder.is_dir():
        return HostTarget(load_saved(folder, adata, model_class, backed=backed))
    for name, value in (("--adata", adata), ("--model-class", model_class)):
        if value is not None:
            raise RequestError(f"{name} goes with the directory of a saved model; {text!r} is none")
    returned = _without_arguments(text, find_function(text))()
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


def _without_arguments(text: str, function: Callable[..., Any]) -> Callable[[], Any]:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise RequestError(
            f"{text} is called without arguments, but has {inspect.signature(function)} ({error}): "
            "name a function without arguments that returns (model, guide, data)"
        ) from None
    except ValueError:  # Python cannot tell
        pass
    return function


def _read(model: Any, guide: Any, batches: Batches, obs_plate: str | None) -> Reading:
    with untouched_random_state():
        first, second = batches.first_two()
        sampler = JointSampler(model, guide, 0, obs_plate)
        if getattr(guide, "prototype_trace", True) is None:  # an autoguide never run
            guide(*first.args, **first.kwargs)
        several = second is not None
        return read(sampler, batches if several else (first,), only_rows=batches.only_rows)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
