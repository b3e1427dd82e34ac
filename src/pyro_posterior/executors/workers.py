"""Dask at the edge: its executor is loaded only where a client is given."""

from __future__ import annotations

import importlib
from types import ModuleType

from pyro_posterior.errors import MissingPackageError


def load() -> ModuleType:
    """`pyro_posterior.executors.dask`.

    Raises
    ------
    MissingPackageError
        dask.distributed is not installed.
    """
    try:
        return importlib.import_module("pyro_posterior.executors.dask")
    except ModuleNotFoundError as error:
        raise MissingPackageError("distributed", "dask", "client=") from error
