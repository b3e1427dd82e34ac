"""Large results of a first recording, computed only if somebody looks at them.

Nothing is known of a model yet, so nothing can be skipped (see `skips`). But the rates of a likelihood
over thousands of columns cost most of a run, and as a rule nobody reads them: plain arithmetic with a
large result is noted and put off, memory that nobody has touched stands in for the result, and the
first who reads it or writes to what it is made from sets the arithmetic off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from pyro_posterior.keyed.modes import PlainMode
from pyro_posterior.sliced.tensors import address, is_strided, tensors_in, written

aten = torch.ops.aten

#: Smaller results are computed at once.
LEAST_BYTES = 4 << 20

#: Products of the last two of their tensors.
_PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default}

#: Element by element, without side effects; what they give of contiguous tensors is contiguous.
ARITHMETIC = {
    *(aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.rsub.Scalar),
    *(aten.reciprocal.default, aten.neg.default, aten.exp.default, aten.log.default),
    *(aten.log1p.default, aten.softplus.default, aten.sigmoid.default, aten.sqrt.default),
    *(aten.pow.Tensor_Scalar, aten.rsqrt.default),
}


@dataclass(frozen=True)
class _Put:
    """One operation put off; it holds what it takes and what stands for its result."""

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: torch.Tensor
    takes: frozenset[int]  # addresses of the memory it reads

    def compute(self) -> None:
        self.result.data.copy_(self.func(*self.args, **self.kwargs))


class Later:
    """What one run has put off, by the address of the memory that stands in for it."""

    def __init__(self) -> None:
        self._put: dict[int, _Put] = {}

    def put_off(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What stands in for the result of an operation; None where it has to be computed now."""
        if func not in ARITHMETIC and func not in _PRODUCTS:
            return None
        given = list(tensors_in((args, kwargs)))
        dtype = given[0].dtype
        if not all(x.dtype is dtype and x.is_cpu and is_strided(x) and x.numel() for x in given):
            return None
        if not dtype.is_floating_point or any(isinstance(x, complex) for x in args):
            return None
        shape = _product(*given[-2:]) if func in _PRODUCTS else _broadcast(given)
        if shape is None:
            return None
        if math.prod(shape) * dtype.itemsize < LEAST_BYTES:
            return None
        result = torch.empty(shape, dtype=dtype)
        takes = frozenset(address(x) for x in given)
        self._put[address(result)] = _Put(func, args, kwargs, result, takes)
        return result

    def before(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Compute what an operation that runs now will read, and what it would change."""
        if not self._put:
            return
        for target in written(func, args, kwargs):
            self.before_a_change(target)
        if not _only_views(func):
            self.compute(tensors_in((args, kwargs)))

    def before_a_change(self, tensor: torch.Tensor) -> None:
        """Compute what is made from a tensor's memory, and what the memory stands for."""
        home = address(tensor)
        self._compute({at for at, put in self._put.items() if home in put.takes} | {home})

    def compute(self, tensors: Iterable[torch.Tensor]) -> None:
        """Compute what these stand for."""
        self._compute({address(x) for x in tensors})

    def _compute(self, homes: set[int]) -> None:
        wanted, order = list(homes & self._put.keys()), dict[int, _Put]()
        while wanted:
            home = wanted.pop()
            if home not in order:
                order[home] = self._put[home]
                wanted += order[home].takes & self._put.keys()
        if not order:
            return
        with _disable_current_modes(), torch.no_grad():
            for home in [at for at in self._put if at in order]:  # as they were put off
                self._put.pop(home).compute()

    def forget(self) -> list[torch.Tensor]:
        """Let go of all that is still put off; what stands for it, to be held no longer."""
        left = [put.result for put in self._put.values()]
        self._put.clear()
        return left


class Awake(PlainMode):
    """Operations on what stands in for a result compute it first."""

    def __init__(self, later: Later) -> None:
        super().__init__()
        self._later = later

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._later.before(func, args, kwargs)
        return func(*args, **kwargs)


def _product(one: torch.Tensor, other: torch.Tensor) -> tuple[int, ...] | None:
    """Shape of a product of matrices; None where it has none."""
    if one.shape[:-2] != other.shape[:-2] or one.shape[-1] != other.shape[-2]:
        return None
    return (*one.shape[:-1], other.shape[-1])


def _broadcast(given: list[torch.Tensor]) -> tuple[int, ...] | None:
    """Shape of contiguous tensors, none of them empty, taken together; None where they are not."""
    if not all(x.is_contiguous() for x in given):
        return None
    sizes = list(zip_longest(*(reversed(x.shape) for x in given), fillvalue=1))
    if any(len({*along, 1}) > 2 for along in sizes):
        return None
    return tuple(reversed([max(along) for along in sizes]))


def _only_views(func: Any) -> bool:
    """Whether all results lie in the memory of arguments, so that no value is read."""
    schema = getattr(func, "_schema", None)
    found = [] if schema is None else schema.returns
    return bool(found) and all(
        one.alias_info is not None and not one.alias_info.is_write for one in found
    )
