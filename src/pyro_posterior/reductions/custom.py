"""Calling a summary function of the caller's, and checking what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from pyro_posterior.errors import RequestError


def as_read_only_array(draws: torch.Tensor) -> np.ndarray:
    """``draws`` in NumPy, not copied where they are on the CPU; bfloat16 as float32."""
    host = draws.detach().cpu().resolve_conj().resolve_neg()
    array = (host.float() if host.dtype == torch.bfloat16 else host).numpy()
    array.flags.writeable = False  # they may be the draws returned to the caller
    return array


def call_summary(name: str, fun: Callable[..., Any], draws: np.ndarray) -> np.ndarray:
    """``fun(draws, axis=0)``, its shape checked.

    Parameters
    ----------
    name
        The result's name, for messages.
    fun
        The caller's function.
    draws
        ``(draw, *site shape)``.

    Returns
    -------
    ``(*leading, *site shape)``, where the function chooses ``leading``, often ``()``.

    Raises
    ------
    RequestError
        The result does not end with the site's shape.
    """
    try:
        result = np.asarray(fun(draws, axis=0))
    except Exception as error:
        error.add_note(
            f"Raised by the summary {name!r} for draws of shape {draws.shape}; a summary is called "
            "as fun(draws, axis=0)."
        )
        raise
    site_shape = draws.shape[1:]
    if (
        result.dtype == object
        or result.shape[max(0, result.ndim - len(site_shape)) :] != site_shape
    ):
        kind = "Python objects" if result.dtype == object else f"shape {result.shape}"
        raise RequestError(
            f"Summary {name!r} gave {kind} for draws of shape {draws.shape}; the result must be "
            f"numbers whose last axes have the site's shape {site_shape}. Reduce over axis 0 only."
        )
    return result.copy() if np.may_share_memory(result, draws) else result
