"""Comparing means and standard deviations of two sets of draws within Monte Carlo error."""

from __future__ import annotations

import numpy as np


def disagreements(ours: np.ndarray, theirs: np.ndarray, errors: float = 6.0) -> list[str]:
    """Where mean or sd of draws ``(draw, ...)`` differ by more than ``errors`` standard errors."""
    ours, theirs = ours.astype(float), theirs.astype(float)
    found = []
    scale = 1e-5 * np.abs(ours).mean() + 1e-7
    error = np.sqrt(ours.var(0) / len(ours) + theirs.var(0) / len(theirs))
    if (np.abs(ours.mean(0) - theirs.mean(0)) > errors * error + scale).any():
        found.append("mean")
    error = np.sqrt(_sd_error(ours) ** 2 + _sd_error(theirs) ** 2)
    if (np.abs(ours.std(0) - theirs.std(0)) > errors * error + scale).any():
        found.append("sd")
    return found


def _sd_error(draws: np.ndarray) -> np.ndarray:
    """Standard error of the sd, from the fourth moment."""
    centred = draws - draws.mean(0)
    variance = (centred**2).mean(0)
    fourth = (centred**4).mean(0)
    spread = np.sqrt(np.maximum(fourth - variance**2, 0) / len(draws))
    return spread / np.maximum(2 * np.sqrt(variance), 1e-12)
