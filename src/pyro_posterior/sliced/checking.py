"""Holding replayed values to the loop's, element by element."""

from __future__ import annotations

import torch

from pyro_posterior.sliced.same import equal_values

#: Relative difference from the loop, as a power of the type's precision: 1e-5 in float32.
POWER = 0.72

#: Absolute difference, relative to that and to the middle one of the values by size: what is left
#: where large terms cancel.
NEAR_ZERO = 0.1


def agrees(got: torch.Tensor, want: torch.Tensor, *, exact: bool) -> bool:
    """Whether a value is the loop's: to the last bit, or each element within rounding of its own."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return False
    if exact or not (want.is_floating_point() or want.is_complex()):
        return equal_values(got, want)
    if not want.numel():
        return True
    finite = torch.isfinite(want)
    if not bool(finite.all()):
        if not equal_values(got[~finite], want[~finite]):
            return False
        got, want = got[finite], want[finite]
    tolerance = torch.finfo(want.dtype).eps ** POWER
    size = want.abs()
    large = size[size > 0]
    usual = float(large.median()) if large.numel() else 0.0
    gap = (got - want).abs_()
    return bool((gap <= size.mul_(tolerance).add_(NEAR_ZERO * tolerance * usual)).all())
