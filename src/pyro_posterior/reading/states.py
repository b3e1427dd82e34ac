"""What objects of installed packages hold, as plain values: how pickle would put them together."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch

#: Random numbers go on from call to call, and are seeded by draw.
_MOVING = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator)


def state_of(value: Any) -> Any:
    """Tuples and dicts with all that an object is made of; None where it does not say.

    A fraction, a date, a table, a frozen distribution of SciPy, ``operator.itemgetter(1)``.
    """
    if isinstance(value, _MOVING):
        return None
    if hasattr(value, "__array__") and hasattr(value, "to_numpy"):  # a table of pandas
        labels = [getattr(value, axis, None) for axis in ("index", "columns")]
        return [np.asarray(value), *(None if one is None else _listed(one) for one in labels)]
    with suppress(Exception):  # a lock, a file, a generator
        made = value.__reduce_ex__(4)
        if isinstance(made, tuple):
            function, arguments, *rest = made
            state, items, pairs = (*rest, None, None, None)[:3]
            return [
                function,
                list(arguments),
                state,
                None if items is None else list(items),
                None if pairs is None else dict(pairs),
            ]
    return None


def _listed(labels: Any) -> Any:
    return [labels.tolist() if hasattr(labels, "tolist") else None]
