"""Posteriors of fitted Pyro models: joint draws and summaries of every latent variable."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyro_posterior import settings
from pyro_posterior.mixin import PyroSampleMixin
from pyro_posterior.posterior import Posterior
from pyro_posterior.sampling import sample_posterior
from pyro_posterior.version import __version__

if TYPE_CHECKING:
    from pyro_posterior.contracts import RunPlan, Site
    from pyro_posterior.errors import (
        ArgumentError,
        CannotSliceError,
        MissingPackageError,
        OutputError,
        PosteriorError,
        PosteriorWarning,
        RequestError,
        StoreError,
        UnknownNameError,
    )
    from pyro_posterior.exports.anndata import to_anndata
    from pyro_posterior.exports.arviz import to_arviz
    from pyro_posterior.exports.netcdf import write_netcdf
    from pyro_posterior.exports.pandas import to_pandas
    from pyro_posterior.exports.plots import plot_site
    from pyro_posterior.exports.report import write_report
    from pyro_posterior.exports.xarray import to_dataset, to_xarray
    from pyro_posterior.scvi import keep_parameters, use_in

#: Names that are imported when they are first asked for, and the file each lives in.
_LAZY = {
    "ArgumentError": "errors",
    "CannotSliceError": "errors",
    "MissingPackageError": "errors",
    "OutputError": "errors",
    "PosteriorError": "errors",
    "PosteriorWarning": "errors",
    "RequestError": "errors",
    "RunPlan": "contracts",
    "Site": "contracts",
    "StoreError": "errors",
    "UnknownNameError": "errors",
    "keep_parameters": "scvi",
    "plot_site": "exports.plots",
    "to_anndata": "exports.anndata",
    "to_arviz": "exports.arviz",
    "to_dataset": "exports.xarray",
    "to_pandas": "exports.pandas",
    "to_xarray": "exports.xarray",
    "use_in": "scvi",
    "write_netcdf": "exports.netcdf",
    "write_report": "exports.report",
}

__all__ = [
    "ArgumentError",
    "CannotSliceError",
    "MissingPackageError",
    "OutputError",
    "Posterior",
    "PosteriorError",
    "PosteriorWarning",
    "PyroSampleMixin",
    "RequestError",
    "RunPlan",
    "Site",
    "StoreError",
    "UnknownNameError",
    "__version__",
    "keep_parameters",
    "plot_site",
    "sample_posterior",
    "settings",
    "to_anndata",
    "to_arviz",
    "to_dataset",
    "to_pandas",
    "to_xarray",
    "use_in",
    "write_netcdf",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        from difflib import get_close_matches

        close = get_close_matches(name, __all__, 1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{meant}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
