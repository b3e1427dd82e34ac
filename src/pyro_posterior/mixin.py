"""`PyroSampleMixin`: `sample_posterior` as a method of any class that holds a Pyro module."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
from collections.abc import Iterable
from typing import Any, Literal, Unpack, overload

from pyro_posterior.contracts import Summaries
from pyro_posterior.errors import ArgumentError
from pyro_posterior.hosts import (
    default_seed,
    from_use_gpu,
    keeping_rows,
    make_loader,
    module_of,
    names_of,
    obs_plate_of,
    with_labels,
)
from pyro_posterior.kept import kept_parameters
from pyro_posterior.keywords import check_known, one_exclusion
from pyro_posterior.options import Options
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
        num_samples: int | Literal["auto"] = 1000,
        return_sites: Iterable[str] | None = None,
        accelerator: Any = "auto",
        device: Any = "auto",
        batch_size: int | None = None,
        return_observed: bool = False,
        return_samples: bool = False,
        summary_frequency: int | None = None,
        summary_fun: Summaries | None = None,
        **sample_kwargs: Unpack[Options],
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
        **sample_kwargs: Unpack[Options],
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
            Number of joint draws; "auto" with ``mcse=0.05``: as many as that error asks for.
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
            Labels of ``grouped`` may be the name of a column in ``adata.obs``.

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
                raise ArgumentError(
                    f"called with a number first, sample_posterior takes {', '.join(_EARLIER)} by "
                    f"position, found {len(args)} arguments"
                )
            named = dict(zip(_EARLIER, args, strict=False))
            if twice := sorted(set(named) & set(kwargs)):
                raise ArgumentError(f"sample_posterior got {twice[0]!r} twice")
            return _sample(self, **named, **kwargs)
        try:
            _public.bind(self, *args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"sample_posterior got {error}; it takes {_public}") from None
        return _sample(self, *args, **kwargs)


def _sample(
    self: Any,
    adata: Any = None,
    input_dl: Any = None,
    indices: Any = None,
    num_samples: int | Literal["auto"] = 1000,
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
    sample_kwargs = one_exclusion(sample_kwargs)
    sample_kwargs.setdefault("seed", default_seed())
    if "use_gpu" in sample_kwargs:
        accelerator, device = from_use_gpu(sample_kwargs.pop("use_gpu"), accelerator, device)
    check_known(sample_kwargs, _MORE | set(_public.parameters) - {"self", "sample_kwargs"})
    module = module_of(self)
    if "grouped" in sample_kwargs:
        given = sample_kwargs["grouped"]
        sample_kwargs["grouped"] = with_labels(given, self, adata, indices, input_dl)
    loader = input_dl
    if loader is None:
        loader = make_loader(self, adata, indices, batch_size)

    with one_at_a_time(), kept_parameters(module) as foreign:
        return run(
            HostRequest(
                model if model is not None else module.model,
                module.guide,
                loader,
                to_args=keeping_rows(module._get_fn_args_from_batch),
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
                names=names_of(self, adata, indices, input_dl),
                **sample_kwargs,
            )
        )


_public = inspect.signature(_sample)
PyroSampleMixin.sample_posterior.__signature__ = _public  # type: ignore[attr-defined]
