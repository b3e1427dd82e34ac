"""Bytes of what travels to other processes, guides of Pyro with their models among it.

Pickling an ``AutoGuide`` takes the model out of it, of the copy and of the guide itself; here both
keep it. What a handler of Pyro wraps would come back wrapped in another way.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import cloudpickle
from pyro.infer.autoguide.guides import AutoGuide
from pyro.poutine.messenger import _bound_partial

from pyro_posterior.functions import OWN_MODULES


def dumps(value: Any) -> bytes:
    """Bytes that `pickle.loads` takes, also where modules are only known here."""
    for module in OWN_MODULES.values():
        cloudpickle.register_pickle_by_value(module)
    content = io.BytesIO()
    _Pickler(content).dump(value)
    return content.getvalue()


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _bound_partial):
            return type(obj), (obj.func,)
        if not isinstance(obj, AutoGuide):
            return super().reducer_override(obj)
        held = {"_model": obj._model, "master": obj.master}
        try:
            function, args, state, *more = obj.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            state = {**state, "_model": held["_model"]}
        finally:
            vars(obj).update(held)
        return function, args, state, *more
