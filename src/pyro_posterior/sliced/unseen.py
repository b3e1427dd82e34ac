"""Functions that neither torch's dispatch nor its function overrides see, watched while recording."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils.dlpack

from pyro_posterior.errors import CannotSliceError
from pyro_posterior.sliced.lines import calling_line
from pyro_posterior.sliced.tensors import tensors_in

_SCRIPTED: Any = (torch._C.ScriptFunction, torch._C.ScriptMethod)
_EXECUTORS: Any = (concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor)

#: The step of TorchScript that gives it a tensor's values and no operation.
_LISTS = "prim::tolist"


@contextlib.contextmanager
def watched(note: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Watch what this thread does in ways that leave no trace.

    Parameters
    ----------
    note
        Told the name of a function and a tensor whose values or memory it takes.

    Raises
    ------
    CannotSliceError
        On leaving, where another thread was given work.
    """
    own, busy = threading.get_ident(), list[str]()

    def exchanged(owner: Any, name: str, look: Callable[..., None]) -> Callable[[], None]:
        given = vars(owner)[name]

        @functools.wraps(given)
        def looking(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() == own:
                look(*args, **kwargs)
            return given(*args, **kwargs)

        setattr(owner, name, looking)
        return lambda: setattr(owner, name, given)

    def another_thread(*_: Any, **__: Any) -> None:
        busy.append(calling_line())

    def scripted(script: Any, *args: Any, **kwargs: Any) -> None:
        if _makes_lists(script):
            for tensor in tensors_in((args, kwargs)):
                note("tolist", tensor)

    def capsule(tensor: Any) -> None:
        note("to_dlpack", tensor)

    back = [
        exchanged(threading.Thread, "start", another_thread),
        *(exchanged(owner, "submit", another_thread) for owner in _EXECUTORS),
        *(exchanged(owner, "__call__", scripted) for owner in _SCRIPTED),
        exchanged(torch.utils.dlpack, "to_dlpack", capsule),
        exchanged(torch, "to_dlpack", capsule),
        exchanged(torch._C, "_to_dlpack", capsule),
    ]
    try:
        yield
    finally:
        for put in back:
            put()
    if busy:
        raise CannotSliceError(
            f"the model gives work to a thread ({busy[0]}), and what that does leaves no trace"
        )


def _makes_lists(script: Any) -> bool:
    graph = getattr(script, "inlined_graph", None)
    return _LISTS in str(script.graph if graph is None else graph)
