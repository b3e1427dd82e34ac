"""Derived quantities: functions of one joint draw, returned as sites of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine

from pyro_posterior.errors import RequestError
from pyro_posterior.extending.nodes import add_site, values_in

#: ``fun(values by site) -> tensor``, called with the values of one joint draw.
DerivedFunction = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Derive:
    """Adds a site for each function; later ones may use earlier ones."""

    functions: Mapping[str, DerivedFunction]

    def __call__(self, guide_trace: poutine.Trace, model_trace: poutine.Trace) -> None:
        for name, function in self.functions.items():
            values = ReadOnly(values_in(model_trace))
            add_site(model_trace, name, compute(name, function, values), "derived")


class ReadOnly(Mapping[str, Any]):
    """Values by site; one that is not there is named with those that are."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise RequestError(f"there is no site {name!r}; there are {', '.join(self._values)}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def compute(name: str, function: DerivedFunction, values: Mapping[str, Any]) -> torch.Tensor:
    """What a function gives, as a tensor.

    Raises
    ------
    RequestError
        It fails, gives something else, or writes to its values; the message names it and the
        shapes it got.
    """
    before = _versions(values)
    try:
        result = function(values)
        if isinstance(result, (bool, int, float)):
            result = torch.as_tensor(result)
    except Exception as error:
        if type(error).__name__ in ("CannotSliceError", "OtherCourse"):  # not the function's own
            raise
        raise RequestError(
            f"derived[{name!r}] failed with {type(error).__name__}: {error}. It was called with "
            f"one joint draw: {shapes_of(values)}"
        ) from error
    if not isinstance(result, torch.Tensor):
        raise RequestError(
            f"derived[{name!r}] gave {type(result).__name__}, but must give a tensor. It was "
            f"called with one joint draw: {shapes_of(values)}"
        )
    if written := [site for site, version in _versions(values).items() if before[site] != version]:
        raise RequestError(
            f"derived[{name!r}] writes to the values of {', '.join(map(repr, written))}, which would "
            "change the site itself: use operations that give a new tensor (x + 1, x.mul(2)), or "
            "x.clone() first"
        )
    return result


def _versions(values: Mapping[str, Any]) -> dict[str, int]:
    """How often each tensor was written to, as far as torch counts."""
    return {
        name: value._version
        for name, value in values.items()
        if isinstance(value, torch.Tensor) and not value.is_inference()
    }


def shapes_of(values: Mapping[str, Any]) -> str:
    """Names and shapes, for messages."""
    return ", ".join(
        f"{name} {tuple(value.shape) if hasattr(value, 'shape') else type(value).__name__}"
        for name, value in values.items()
    )
