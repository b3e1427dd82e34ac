"""Bytes of what travels to other processes, guides of Pyro with their models among it.

Pickling an ``AutoGuide`` takes the model out of it, of the copy and of the guide itself; here both
keep it. What a handler of Pyro wraps would come back wrapped in another way.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyro.infer.autoguide.guides import AutoGuide
from pyro.poutine.messenger import _bound_partial

from pyro_posterior.errors import MissingPackageError
from pyro_posterior.functions import OWN_MODULES


def dumps(value: Any) -> bytes:
    """Bytes that `pickle.loads` takes, also where modules are only known here.

    Raises
    ------
    MissingPackageError
        cloudpickle is not installed.
    """
    content, pickler = io.BytesIO(), _pickler()
    with _sent_by_value():
        pickler(content).dump(value)
    return content.getvalue()


@contextmanager
def _sent_by_value() -> Iterator[None]:
    """Functions of modules that only this process knows travel with their code.

    Those of a module that is no longer known here either do so by themselves.
    """
    import cloudpickle

    already = cloudpickle.list_registry_pickle_by_value()
    known = [
        module
        for name, module in OWN_MODULES.items()
        if sys.modules.get(name) is module and name not in already
    ]
    for module in known:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in known:
            cloudpickle.unregister_pickle_by_value(module)


@functools.cache
def _pickler() -> Any:
    try:
        import cloudpickle
    except ModuleNotFoundError as error:
        raise MissingPackageError("cloudpickle", "dask", "drawing in other processes") from error

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _bound_partial):
                return type(obj), (obj.func,)
            if isinstance(obj, AutoGuide):
                return _with_model(obj)
            if getattr(obj, "isbacked", False) and type(obj).__name__ == "AnnData":
                return _without_matrix(obj)
            return super().reducer_override(obj)

    return Pickler


def _with_model(guide: AutoGuide) -> Any:
    held = {"_model": guide._model, "master": guide.master}
    try:
        function, args, state, *more = guide.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
        state = {**state, "_model": held["_model"]}
    finally:
        vars(guide).update(held)
    return function, args, state, *more


def _without_matrix(adata: Any) -> Any:
    """A backed AnnData as all that it holds in memory, and the file whose matrix it opens again."""
    if adata.is_view:
        raise TypeError("a view of a backed AnnData: give the AnnData itself, and indices=")
    parts = ("obs", "var", "uns", "obsm", "varm", "obsp", "varp", "layers")
    held = {name: getattr(adata, name) for name in parts}
    held = {name: dict(x) if isinstance(x, Mapping) else x for name, x in held.items()}
    return _with_matrix, (type(adata), os.path.abspath(adata.filename), held)


def _with_matrix(cls: type, file: str, held: dict[str, Any]) -> Any:
    return cls(filename=file, filemode="r", **held)
