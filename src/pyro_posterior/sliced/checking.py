"""Holding replayed values to the loop's, element by element."""

from __future__ import annotations

import torch

from pyro_posterior.sliced.same import equal_values

#: Relative difference from the loop, as a power of the type's precision: 1e-5 in float32.
POWER = 0.72

#: Absolute difference, relative to that and to the middle one of the values by size: what is left
#: where large terms cancel.
NEAR_ZERO = 0.1

#: Values compared at a time, and looked at, at most, for the middle one.
AT_ONCE = 1 << 20


def agrees(got: torch.Tensor, want: torch.Tensor, *, exact: bool) -> bool:
    """Whether a value is the loop's: to the last bit, or each element within rounding of its own."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if exact or not (want.is_floating_point() or want.is_complex()):
        return equal_values(got, want)
    flat = want.reshape(-1)
    absolute = NEAR_ZERO * _usual_size(flat[:: max(1, flat.numel() // AT_ONCE)])
    return all(
        _close(*pair, absolute)
        for pair in zip(got.reshape(-1).split(AT_ONCE), flat.split(AT_ONCE), strict=True)
    )


def _usual_size(want: torch.Tensor) -> float:
    """The middle one of values by size, those that are 0 left out."""
    size = want.abs()
    size = size[(size > 0) & torch.isfinite(size)]
    return float(size.median()) if size.numel() else 0.0


def _close(got: torch.Tensor, want: torch.Tensor, absolute: float) -> bool:
    finite = torch.isfinite(want)
    if not bool(finite.all()):
        if not equal_values(got[~finite], want[~finite]):
            return False
        got, want = got[finite], want[finite]
    tolerance = torch.finfo(want.dtype).eps ** POWER
    gap = (got - want).abs_()
    return bool((gap <= want.abs().add_(absolute).mul_(tolerance)).all())
