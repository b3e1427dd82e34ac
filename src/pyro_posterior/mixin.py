"""`PyroSampleMixin`: `sample_posterior` as a method of any class that holds a Pyro module."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map

from pyro_posterior import settings
from pyro_posterior.batches import check_batch_size
from pyro_posterior.contracts import Summaries
from pyro_posterior.data.arguments import ToArgs, copied
from pyro_posterior.errors import RequestError
from pyro_posterior.kept import kept_parameters
from pyro_posterior.labels import SPATIAL
from pyro_posterior.posterior import Posterior
from pyro_posterior.request import HostRequest, Request
from pyro_posterior.sampling import run
from pyro_posterior.session import one_at_a_time

# Order of the positional arguments where the first is a number: earlier releases of scvi-tools.
_EARLIER = (
    "num_samples",
    "return_sites",
    "accelerator",
    "device",
    "batch_size",
    "return_observed",
    "return_samples",
    "summary_fun",
)


#: Arguments of the function that the method takes as keywords beside the documented ones. The host
#: says itself what the others are.
_MORE = {field.name for field in dataclasses.fields(Request)} - {
    *("model", "guide", "data", "to_args", "obs_plate", "names"),
    *(*_EARLIER, "num_samples"),
}


class PyroSampleMixin:
    """Mixin class for generating samples from posterior distribution.

    Works using both minibatches and full data. The class it is mixed into has

    * ``module.model`` and ``module.guide``: the Pyro model and its guide;
    * ``module._get_fn_args_from_batch(batch) -> (args, kwargs)``;
    * ``module.list_obs_plate_vars`` (optional; property or method): a dict whose ``"name"`` is the
      minibatch plate. Without it the plate that subsamples is taken;
    * ``_make_data_loader(...)``, which gives a re-iterable of batches and takes those of ``adata``,
      ``indices``, ``batch_size`` and ``shuffle`` it needs; or every call passes ``input_dl``.
    """

    module: Any

    @overload
    def sample_posterior(
        self,
        adata: Any = None,
        input_dl: Any = None,
        indices: Any = None,
        num_samples: int = 1000,
        return_sites: Iterable[str] | None = None,
        accelerator: Any = "auto",
        device: Any = "auto",
        batch_size: int | None = None,
        return_observed: bool = False,
        return_samples: bool = False,
        summary_frequency: int | None = None,
        summary_fun: Summaries | None = None,
        **sample_kwargs: Any,
    ) -> Posterior: ...

    @overload
    def sample_posterior(
        self,
        num_samples: int,
        return_sites: Iterable[str] | None = None,
        accelerator: Any = "auto",
        device: Any = "auto",
        batch_size: int | None = None,
        return_observed: bool = False,
        return_samples: bool = False,
        summary_fun: Summaries | None = None,
        **sample_kwargs: Any,
    ) -> Posterior: ...

    def sample_posterior(self, *args: Any, **kwargs: Any) -> Posterior:
        """Summarise the posterior distribution of every site.

        Parameters
        ----------
        adata
            Data to sample for, as the host's ``_make_data_loader`` takes it; None: its own.
        input_dl
            A re-iterable of batches to use instead; its order, repeats included, is kept.
        indices
            Observations of ``adata`` to use; None: all.
        num_samples
            Number of joint draws.
        return_sites
            Names of the sites to return; None: all latent and deterministic ones.
        accelerator, device
            As in lightning.
        batch_size
            Observations per minibatch; None: ``scvi.settings.batch_size`` where scvi-tools is
            loaded, else ``pyro_posterior.settings.batch_size``.
        return_observed
            Also return observed sites, with the values they have in the run.
        return_samples
            Also return all draws, as ``posterior_samples``.
        summary_frequency
            Accepted for compatibility and not needed: every minibatch is summarised by itself.
        summary_fun
            Names of summaries or ``{name: fun}``, as for `pyro_posterior.sample_posterior`.
        **sample_kwargs
            ``model`` (used instead of ``module.model``, from the first draw to the last),
            ``exclude_vars`` (or ``exclude_sites``), all other keywords of
            `pyro_posterior.sample_posterior`, and ``use_gpu`` as in earlier releases of scvi-tools.

        Returns
        -------
        Posterior
            As `pyro_posterior.sample_posterior` gives it.

        Notes
        -----
        Called with a number first, the positional arguments are those of earlier releases of
        scvi-tools: ``num_samples, return_sites, accelerator, device, batch_size,
        return_observed, return_samples, summary_fun``.
        """
        if args and isinstance(args[0], numbers.Integral) and not isinstance(args[0], bool):
            if len(args) > len(_EARLIER):
                raise TypeError(f"sample_posterior takes at most {len(_EARLIER)} such arguments")
            named = dict(zip(_EARLIER, args, strict=False))
            if twice := sorted(set(named) & set(kwargs)):
                raise TypeError(f"sample_posterior got {twice[0]!r} twice")
            return _sample(self, **named, **kwargs)
        return _sample(self, *args, **kwargs)


def _sample(
    self: Any,
    adata: Any = None,
    input_dl: Any = None,
    indices: Any = None,
    num_samples: int = 1000,
    return_sites: Iterable[str] | None = None,
    accelerator: Any = "auto",
    device: Any = "auto",
    batch_size: int | None = None,
    return_observed: bool = False,
    return_samples: bool = False,
    summary_frequency: int | None = None,
    summary_fun: Summaries | None = None,
    **sample_kwargs: Any,
) -> Posterior:
    del summary_frequency
    model = sample_kwargs.pop("model", None)
    if "exclude_vars" in sample_kwargs:
        if "exclude_sites" in sample_kwargs:
            raise TypeError("exclude_vars and exclude_sites are the same argument: give one")
        sample_kwargs["exclude_sites"] = sample_kwargs.pop("exclude_vars")
    sample_kwargs.setdefault("seed", _default_seed())
    if "use_gpu" in sample_kwargs:
        accelerator, device = _from_use_gpu(sample_kwargs.pop("use_gpu"), accelerator, device)
    if unknown := sorted(set(sample_kwargs) - _MORE):
        raise TypeError(f"sample_posterior got an unexpected argument {unknown[0]!r}")
    module = _module_of(self)
    loader = input_dl
    if loader is None:
        loader = _make_loader(self, adata, indices, batch_size)

    with one_at_a_time(), kept_parameters(module) as foreign:
        return run(
            HostRequest(
                model if model is not None else module.model,
                module.guide,
                loader,
                to_args=_keeping_rows(module._get_fn_args_from_batch),
                num_samples=num_samples,
                return_sites=return_sites,
                obs_plate=obs_plate_of(module),
                accelerator=accelerator,
                device=device,
                return_observed=return_observed,
                return_samples=return_samples,
                summary_fun=summary_fun,
                model_draws=model is not None,
                trained=foreign or bool(getattr(self, "is_trained_", False)),
                names=_names(self, adata, indices, input_dl),
                **sample_kwargs,
            )
        )


_public = inspect.signature(_sample)
PyroSampleMixin.sample_posterior.__signature__ = _public  # type: ignore[attr-defined]


def obs_plate_of(module: Any) -> str | None:
    """Name of the minibatch plate as the module declares it, or None to find it."""
    for owner in (module, getattr(module, "model", None)):
        declared = getattr(owner, "list_obs_plate_vars", None)
        if callable(declared):
            declared = declared()
        name = declared.get("name") if isinstance(declared, Mapping) else None
        if name:  # scvi-tools' own default names none
            return str(name)
    return None


def _scvi_setting(name: str) -> Any:
    """A setting of scvi-tools where it is loaded; None otherwise."""
    scvi = sys.modules.get("scvi")
    return getattr(getattr(scvi, "settings", None), name, None)


def _default_seed() -> int | None:
    return settings.seed if settings.seed is not None else _scvi_setting("seed")


def _module_of(host: Any) -> Any:
    """The host's module, with all that a call needs of it."""
    module = getattr(host, "module", None)
    needed = ("model", "guide", "_get_fn_args_from_batch")
    if lacking := [name for name in needed if not hasattr(module, name)]:
        what = "no module" if module is None else f"a module without {', '.join(lacking)}"
        raise RequestError(
            f"{type(host).__name__} has {what}: sample_posterior needs self.module with "
            f"{', '.join(needed)}, such as scvi-tools' PyroBaseModuleClass has"
        )
    return module


def _make_loader(host: Any, adata: Any, indices: Any, batch_size: int | None) -> Any:
    """Batches of the host, in order."""
    make: Callable[..., Any] | None = getattr(host, "_make_data_loader", None)
    if make is None:
        raise RequestError(
            f"{type(host).__name__} has no _make_data_loader: pass the batches as input_dl, or "
            "define _make_data_loader(self, batch_size) to return a DataLoader"
        )
    if hasattr(host, "_validate_anndata"):
        adata = host._validate_anndata(adata)
        indices = range(adata.n_obs) if indices is None else indices
    check_batch_size(batch_size)
    chosen = batch_size or _scvi_setting("batch_size") or settings.batch_size
    offered = {"adata": adata, "indices": indices, "batch_size": chosen, "shuffle": False}
    taken = inspect.signature(make).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        for name in ("adata", "indices"):
            if name not in taken and offered[name] is not None:
                raise RequestError(
                    f"{name} was given, but {type(host).__name__}._make_data_loader takes no {name}"
                )
        offered = {name: value for name, value in offered.items() if name in taken}
    return make(**offered)


def _keeping_rows(to_args: ToArgs) -> ToArgs:
    """``to_args``, with the observation axis put back that ``squeeze()`` takes from a batch of one."""

    def with_rows(batch: Any) -> tuple[Any, Any]:
        args, kwargs = to_args(copied(batch))  # which it may change, and is asked for twice
        leaves = [x for x in tree_flatten(batch)[0] if isinstance(x, torch.Tensor)]
        if not leaves or any(x.dim() == 0 or len(x) != 1 for x in leaves):
            return args, kwargs
        given = (tuple(args), dict(kwargs))
        if not any(isinstance(x, torch.Tensor) and x.dim() == 0 for x in tree_flatten(given)[0]):
            return args, kwargs
        args, kwargs = to_args(tree_map(_twice, batch))
        return tree_map(_one_of_two, given, (tuple(args), dict(kwargs)))

    return with_rows


def _twice(value: Any) -> Any:
    return torch.cat([value, value]) if isinstance(value, torch.Tensor) else value


def _one_of_two(value: Any, doubled: Any) -> Any:
    lost = isinstance(value, torch.Tensor) and value.dim() == 0 and doubled.dim() == 1
    return value.reshape(1) if lost else value


def _from_use_gpu(use_gpu: Any, accelerator: Any, device: int | str) -> tuple[Any, int | str]:
    """Accelerator and device for the ``use_gpu`` of earlier releases of scvi-tools."""
    if use_gpu is None or use_gpu is True:
        return accelerator, device
    if use_gpu is False:
        return "cpu", "auto"
    return ("auto", use_gpu) if isinstance(use_gpu, str) else ("gpu", use_gpu)


def _names(host: Any, adata: Any, indices: Any, input_dl: Any) -> dict[str, Any]:
    """Names of observations, variables and factors, where the host has an AnnData or such names."""
    data: Any = adata if adata is not None else getattr(host, "adata", None)
    names: dict[str, Any] = {}
    if hasattr(data, "obs_names"):
        if input_dl is None:
            rows = data.obs_names.to_numpy()
            chosen = slice(None) if indices is None else indices
            names["obs"] = rows[chosen]
            places = np.asarray(getattr(data, "obsm", {}).get("spatial", ()))
            if places.ndim == 2 and places.shape[1] >= 2 and places.dtype.kind in "iuf":
                names |= {name: places[chosen, axis] for axis, name in enumerate(SPATIAL)}
        names["var"] = data.var_names.to_numpy()
    factors = getattr(host, "factor_names_", None)
    if factors is not None and np.ndim(factors) == 1:
        names["factor"] = np.asarray(factors)
    return names
