"""Defaults a user may change for the whole process: ``pyro_posterior.settings.batch_size = 512``."""

from __future__ import annotations

import numbers
import sys
from types import ModuleType
from typing import Any

from pyro_posterior.contracts import Engine
from pyro_posterior.errors import RequestError

#: Observations per minibatch where none is given and scvi-tools is not loaded.
batch_size: int = 128

#: Seed of calls that give none. Where it is None, each takes a fresh one, kept in its result.
seed: int | None = None

#: Engine of calls that give none, "auto", "sliced" or "loop".
engine: Engine = "auto"


class _Settings(ModuleType):
    """This module, which takes no other names and no values that are none."""

    def __setattr__(self, name: str, value: Any) -> None:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        fits = {
            "batch_size": (whole and value > 0, "a whole number above 0"),
            "seed": (whole or value is None, "a whole number or None"),
            "engine": (str(value) in ("auto", "sliced", "loop"), "'auto', 'sliced' or 'loop'"),
        }
        if not name.startswith("__"):
            if name not in fits:
                raise RequestError(f"there is no setting {name!r}; the settings are {list(fits)}")
            is_right, words = fits[name]
            if not is_right:
                raise RequestError(f"settings.{name} must be {words}, found {value!r}")
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Settings
