"""Comparisons that fail on right code with a declared chance, and never more often.

::

    assert_within(found, target, standard_error, "mean of z", false_alarm=1e-4)
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

#: Chance that one call of a check fails although the code is right, had the seed not been fixed.
FALSE_ALARM = 1e-4


def bound(checks: int, false_alarm: float = FALSE_ALARM) -> float:
    """Normal scores beyond which one of ``checks`` comparisons is an alarm.

    By Bonferroni's inequality the chance of any alarm is at most ``false_alarm``.

    Examples
    --------
    >>> round(bound(1, 0.05), 2)
    1.96
    """
    return NormalDist().inv_cdf(1 - false_alarm / (2 * checks))


def assert_within(
    found: Any, target: Any, error: Any, what: str, *, false_alarm: float = FALSE_ALARM
) -> None:
    """Every number is within Monte Carlo error of its target.

    Parameters
    ----------
    found, target
        Numbers or arrays that broadcast against each other.
    error
        One standard error of ``found``, with the same shape or one that broadcasts.
    what
        Named in the message.
    false_alarm
        Chance that right numbers fail, over all of them together.

    Raises
    ------
    AssertionError
        With the number that is farthest off.
    """
    found, target, error = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (found, target, error))
    )
    gap = np.abs(found - target)
    rounding = 1e-5 * np.abs(target) + 1e-6
    allowed = bound(max(gap.size, 1), false_alarm) * error + rounding
    worst = np.argmax(gap - allowed)
    assert (gap <= allowed).all(), (
        f"{what}: {found.flat[worst]} for {target.flat[worst]} "
        f"(allowed {allowed.flat[worst]}) at {worst}"
    )


def assert_normal(posterior: Any, exact: dict[str, tuple[Any, Any]]) -> None:
    """Means, standard deviations and quantiles of normal sites, from the summaries alone."""
    num, half_width = posterior.plan.num_samples, NormalDist().inv_cdf(0.95)
    density = NormalDist().pdf(half_width)
    for name, (mean, sd) in exact.items():
        assert_within(posterior["post_sample_means"][name], mean, sd / num**0.5, f"mean of {name}")
        assert_within(
            posterior["post_sample_stds"][name], sd, sd / (2 * num) ** 0.5, f"sd of {name}"
        )
        error = sd * (0.05 * 0.95 / num) ** 0.5 / density
        for key, sign in (("post_sample_q05", -1), ("post_sample_q95", 1)):
            assert_within(
                posterior[key][name], mean + sign * half_width * sd, error, f"{key} {name}"
            )


def assert_same(one: Any, other: Any) -> None:
    """Bit-equal results."""
    assert list(one) == list(other)
    for key in one:
        assert list(one[key]) == list(other[key])
        for name in one[key]:
            np.testing.assert_array_equal(one[key][name], other[key][name], err_msg=f"{key} {name}")


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
