"""Summaries of draws where they are, on an accelerator: only the results travel to the CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from pyro_posterior.reductions.columns import interpolate, numpy_dtype
from pyro_posterior.reductions.ordered import most_frequent
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
    One array ``(column,)`` per statistic, ``(2, column)`` for an interval, and the count.
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
        _joined(part, statistic).astype(statistic.result_dtype(dtype), copy=False)
        for part, statistic in zip(parts, statistics, strict=True)
    ]
    return results, int(nonfinite)


def _joined(parts: Sequence[torch.Tensor], statistic: Statistic) -> np.ndarray:
    if parts:
        return torch.cat(list(parts), dim=-1).cpu().numpy()
    return np.empty(0) if statistic.values == 1 else np.empty((statistic.values, 0))


def _load(columns: torch.Tensor) -> torch.Tensor:
    """The block as ``(column, draw)``; half precision as float32, booleans as 0 and 1."""
    if columns.dtype in (torch.float16, torch.bfloat16):
        columns = columns.float()
    elif columns.dtype == torch.bool:
        columns = columns.to(torch.uint8)
    return columns.T.contiguous()


def _block(rows: torch.Tensor, statistics: Sequence[Statistic]) -> list[torch.Tensor]:
    real = rows if rows.is_floating_point() else None
    if real is None and any(s.needs_floats for s in statistics):
        real = rows.double()
    moments: dict[str, torch.Tensor] = {}
    if real is not None and any(s.needs_floats for s in statistics):
        moments = _moments(real)
    ordered = rows.sort(dim=1).values if any(s.needs_sort for s in statistics) else rows
    return [moments[s.kind] if s.kind in moments else _other(rows, ordered, s) for s in statistics]


def _moments(real: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean, variance and sd; rows are scaled by a power of two, so that no square overflows."""
    largest = real.abs().amax(1).clamp(min=torch.finfo(real.dtype).tiny)
    scale = torch.where(torch.isfinite(largest), largest.log2().ceil().exp2(), 1.0)
    scale = torch.where(torch.isfinite(scale), scale, largest)  # next to the largest number
    scaled = real / scale[:, None]
    mean = scaled.mean(1)
    variance = _variance(scaled, mean)
    std = variance.sqrt() * scale
    return {"mean": mean * scale, "var": variance * scale * scale, "std": std}


def _variance(real: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Mean squared deviation, freed of the rounding error of the mean (see `moments`)."""
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
    if statistic.counts:
        value = _share(rows, statistic)
    elif statistic.kind == "hdi":
        value = _highest_density(ordered, statistic.q or 0.0)
    elif statistic.kind == "mode":
        # Its halvings are many small steps: read by the same code as on the CPU.
        value = torch.from_numpy(most_frequent(ordered.cpu().numpy())).to(rows.device)
    elif statistic.kind == "median":
        value = _real(ordered[:, count // 2])
        if count % 2 == 0:
            value = (_real(ordered[:, count // 2 - 1]) + value) / 2
    else:
        ends = [
            interpolate(_real(ordered[:, below]), _real(ordered[:, above]), weight)
            for below, above, weight in statistic.positions(count)
        ]
        value = ends[0] if statistic.values == 1 else torch.stack(ends)
    if rows.is_floating_point():
        gaps = torch.isnan(rows).any(1)
        return torch.where(gaps, torch.nan, value)
    return value


def _share(rows: torch.Tensor, statistic: Statistic) -> torch.Tensor:
    compare = {"share above": torch.gt, "share below": torch.lt, "share at": torch.eq}
    hits = compare[statistic.kind](rows, statistic.q or 0.0)
    kind = rows.dtype if rows.is_floating_point() else torch.float64
    return hits.sum(1).to(kind) / rows.shape[1]


def _highest_density(ordered: torch.Tensor, probability: float) -> torch.Tensor:
    """As `ordered.highest_density`."""
    count = ordered.shape[1]
    steps = min(math.floor(probability * count), count - 1)
    widths = ordered[:, steps:] - ordered[:, : count - steps]
    first = widths.argmin(1, keepdim=True)
    return torch.cat([ordered.gather(1, first), ordered.gather(1, first + steps)], 1).T


def _real(x: torch.Tensor) -> torch.Tensor:
    return x if x.is_floating_point() else x.double()
