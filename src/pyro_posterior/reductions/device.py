"""Summaries of draws where they are, on an accelerator: only the results travel to the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pyro_posterior.reductions.columns import interpolate, numpy_dtype
from pyro_posterior.reductions.statistic import Statistic

#: Values of a block; the sort of so many float32 takes about half a GB of device memory.
DEVICE_BLOCK_VALUES = 16 * 2**20

_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def suits_device(flat: torch.Tensor) -> bool:
    """Whether the device has what the statistics of this dtype need (float64 for whole numbers)."""
    if flat.is_floating_point():
        return True
    return flat.dtype in _INTEGERS and flat.device.type != "mps"


def summarise_on_device(
    flat: torch.Tensor, statistics: Sequence[Statistic]
) -> tuple[list[np.ndarray], int]:
    """Each statistic of each column, and the number of NaN or infinite values.

    Parameters
    ----------
    flat
        ``(draw, column)`` on any device, at least one draw, any strides.
    statistics
        What to compute.

    Returns
    -------
    One array ``(column,)`` per statistic, and the count.
    """
    count, columns = flat.shape
    dtype = numpy_dtype(flat.dtype)
    width = max(1, DEVICE_BLOCK_VALUES // count)
    parts: list[list[torch.Tensor]] = [[] for _ in statistics]
    nonfinite = torch.zeros((), dtype=torch.int64, device=flat.device)
    for start in range(0, columns, width):
        rows = _load(flat[:, start : start + width])
        if rows.is_floating_point():
            nonfinite += (~torch.isfinite(rows)).sum()
        for part, value in zip(parts, _block(rows, statistics), strict=True):
            part.append(value)
    results = [
        (torch.cat(part).cpu().numpy() if part else np.empty(0)).astype(
            statistic.result_dtype(dtype), copy=False
        )
        for part, statistic in zip(parts, statistics, strict=True)
    ]
    return results, int(nonfinite)


def _load(columns: torch.Tensor) -> torch.Tensor:
    """The block as ``(column, draw)``; half precision as float32, booleans as 0 and 1."""
    if columns.dtype in (torch.float16, torch.bfloat16):
        columns = columns.float()
    elif columns.dtype == torch.bool:
        columns = columns.to(torch.uint8)
    return columns.T.contiguous()


def _block(rows: torch.Tensor, statistics: Sequence[Statistic]) -> list[torch.Tensor]:
    real = rows if rows.is_floating_point() else None
    if real is None and any(s.kind not in ("min", "max", "sum") for s in statistics):
        real = rows.double()
    moments: dict[str, torch.Tensor] = {}
    if real is not None:
        moments["mean"] = mean = real.mean(1)
        if any(s.needs_squares for s in statistics):
            moments["var"] = _variance(real, mean)
            moments["std"] = moments["var"].sqrt()
    ordered = rows.sort(dim=1).values if any(s.needs_sort for s in statistics) else rows
    return [moments[s.kind] if s.kind in moments else _other(rows, ordered, s) for s in statistics]


def _variance(real: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Mean squared deviation, freed of the rounding error of the mean (see `columns`)."""
    centred = real - mean[:, None]
    left = centred.mean(1)
    left = torch.where(torch.isfinite(left), left, 0.0)
    return (centred.square().mean(1) - left.square()).clamp(min=0.0)


def _other(rows: torch.Tensor, ordered: torch.Tensor, statistic: Statistic) -> torch.Tensor:
    count = rows.shape[1]
    if statistic.kind == "sum":
        return rows.sum(1)
    if statistic.kind == "min":
        return rows.amin(1)
    if statistic.kind == "max":
        return rows.amax(1)
    if statistic.kind == "median":
        value = _real(ordered[:, count // 2])
        if count % 2 == 0:
            value = (_real(ordered[:, count // 2 - 1]) + value) / 2
    else:
        below, above, weight = statistic.position(count)
        value = interpolate(_real(ordered[:, below]), _real(ordered[:, above]), weight)
    if rows.is_floating_point():
        last = ordered[:, -1]
        return torch.where(torch.isnan(last), last, value)
    return value


def _real(x: torch.Tensor) -> torch.Tensor:
    return x if x.is_floating_point() else x.double()
