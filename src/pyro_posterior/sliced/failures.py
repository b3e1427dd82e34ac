"""What goes wrong on the way to a sliced program is a reason for the loop, but for lack of memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pyro_posterior.errors import CannotSliceError, MemoryRanOutError, RequestError

#: What torch's allocator for CPUs says, which has no exception of its own.
_CPU_WORDS = ("can't allocate memory", "not enough memory", "Cannot allocate memory")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on any device."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_WORDS)


@contextlib.contextmanager
def worded(doing: str) -> Iterator[None]:
    """Say in words what torch's errors leave open; the model's own errors stay as they are.

    Raises
    ------
    MemoryRanOutError
        Memory ran out inside.
    RequestError
        The model uses an operator that no dispatch mode can look into.
    """
    try:
        yield
    except Exception as error:
        first = str(error).split("\n")[0]
        if isinstance(error, NotImplementedError) and "HigherOrderOperator" in first:
            raise RequestError(
                f"the model uses torch.cond or a like operator, whose draws cannot be keyed ({first}): "
                "write torch.where, or an if statement"
            ) from error
        if isinstance(error, MemoryRanOutError) or not out_of_memory(error):
            raise
        raise MemoryRanOutError(
            f"memory ran out while {doing} the model: {first}; use smaller minibatches "
            "(batch_size) or fewer sites (return_sites)"
        ) from error


@contextlib.contextmanager
def as_reason(doing: str) -> Iterator[None]:
    """Any exception inside becomes a `CannotSliceError` that says what was being done.

    Raises
    ------
    CannotSliceError
        From the exception, its first line in the message.
    MemoryRanOutError
        Where memory has run out, since the loop would not have more of it.
    """
    try:
        with worded(doing):
            yield
    except CannotSliceError as error:  # Pyro adds the shapes of all sites to the message
        if "\n" in str(error):
            raise CannotSliceError(str(error).split("\n")[0]) from error
        raise
    except (MemoryRanOutError, RequestError):
        raise
    except Exception as error:
        first = (str(error) or type(error).__name__).split("\n")[0]
        raise CannotSliceError(f"{doing} the model failed: {first}") from error
