"""A handler stack of its own for one call: what is active around it does not reach model and guide."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator

from pyro.poutine.runtime import _DIM_ALLOCATOR, _ENUM_ALLOCATOR, _PYRO_STACK


@contextlib.contextmanager
def own_handlers() -> Iterator[None]:
    """No plate, trace, condition or other handler of Pyro is active; on leaving all are again.

    Pyro keeps its handlers, and the dims that plates and enumeration have taken, once for the whole
    process in objects that many of its files hold: these are emptied and filled again in place.
    """
    handlers, dims = _PYRO_STACK[:], _DIM_ALLOCATOR._stack[:]
    enumerated = {name: copy.copy(value) for name, value in vars(_ENUM_ALLOCATOR).items()}
    _PYRO_STACK.clear()
    _DIM_ALLOCATOR._stack.clear()
    try:
        yield
    finally:
        _PYRO_STACK[:] = handlers
        _DIM_ALLOCATOR._stack[:] = dims
        vars(_ENUM_ALLOCATOR).update(enumerated)
