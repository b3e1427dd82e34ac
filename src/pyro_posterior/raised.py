"""Errors of the caller's model and guide stay what they are, with a note: whose, and what helps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import PosteriorError

#: What Pyro or torch says, and what is behind it most of the time.
_HINTS = (
    (
        ("subsample_size does not match", "inside plate(", "at pos 0 does not match"),
        "A guide, or a plate, has the size of other data than these. An autoguide for minibatches "
        "is built with create_plates= (a function of the model's arguments that returns the plate "
        "with subsample=indices); a model for data of any size makes its plate from them, as in "
        'pyro.plate("rows", len(y)). A batch dimension that no plate declares belongs into '
        ".to_event(...)",
    ),
    (
        ("Multiple sample sites named", "Multiple sites named"),
        "Every site needs a name of its own: f'z_{i}' in a loop",
    ),
    (
        ("collide", "Collision of"),
        "Two plates lie along one dimension: give each a dim= of its own (-1, -2, ...)",
    ),
    (
        ("Expected all tensors to be on the same device", "on different devices"),
        "The model keeps a tensor that is no parameter or buffer of a module: pass it among the "
        "data, or register it as a buffer, so that it is moved along",
    ),
    (
        ("must have the same dtype", "expected scalar type", "same dtype"),
        "Data are passed with the dtype they have: convert them first, as in x.float()",
    ),
    (
        ("can't convert np.ndarray", "'DataFrame' object", "argument 'input'"),
        "The model needs tensors: give to_args=, a function from a batch to its (args, kwargs)",
    ),
)


@contextlib.contextmanager
def naming(role: str, minibatch: Minibatch) -> Iterator[None]:
    """Note on an error that came from inside whether model or guide raised it, and a hint."""
    try:
        yield
    except PosteriorError:
        raise
    except Exception as error:
        if not any(note.startswith("raised by the ") for note in getattr(error, "__notes__", ())):
            error.add_note(
                f"raised by the {role}, called with minibatch {minibatch.index} (from 0)"
            )
            said = str(error)
            for words, hint in _HINTS:
                if any(word in said for word in words):
                    error.add_note(hint)
                    break
        raise
