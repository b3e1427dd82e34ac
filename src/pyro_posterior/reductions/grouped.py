"""Totals over groups of observations, of every draw, put together from segments.

Three steps, as for any reduction over observations: of rows of one segment (`update`), of two
segments (`combine`), of all (`finish`). Sums are in float64 and are combined in the order of
segments, never in that of completion, so that the bits do not depend on who was first.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class Grouped:
    """One number per group, draw and remaining entry: the sum or mean over a group's observations.

    Attributes
    ----------
    name
        Of the result.
    site
        What is added up.
    labels
        Names of the groups, in the order of their numbers.
    codes
        ``(obs,)`` group number of every observation, -1 where it is in none.
    how
        "sum" or "mean".
    """

    name: str
    site: str
    labels: tuple[str, ...]
    codes: np.ndarray
    how: Literal["sum", "mean"]

    def update(
        self, state: State | None, draws: torch.Tensor, axis: int | None, first: int
    ) -> State:
        """Add rows of a segment.

        Parameters
        ----------
        state
            What earlier rows of the segment gave; None: nothing yet.
        draws
            ``(draw, *site shape)``.
        axis
            Axis of the observations, negative.
        first
            Number of the first observation among all.
        """
        assert axis is not None
        rows = draws.detach().movedim(axis, 1)
        codes = torch.from_numpy(self.codes[first : first + rows.shape[1]]).to(rows.device)
        sums = torch.zeros(
            (len(rows), len(self.labels) + 1, *rows.shape[2:]),
            dtype=torch.float64,
            device=rows.device if rows.device.type != "mps" else "cpu",
        )
        codes = torch.where(codes < 0, len(self.labels), codes).to(sums.device)
        step = max(1, 2**24 // max(1, rows[0].numel()))  # float64 copies of a part at a time
        for start in range(0, len(rows), step):
            part = rows[start : start + step].to(sums.device, torch.float64)
            sums[start : start + step].index_add_(1, codes, part)
        mine: State = {"sum": sums[:, :-1].cpu().numpy()}
        return mine if state is None else self.combine(state, mine)

    def combine(self, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> State:
        """Two partial results, the earlier rows first."""
        return {"sum": one["sum"] + other["sum"]}

    def finish(self, parts: Iterable[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Draws ``(draw, group, *rest)`` in float64, from the parts in the order of segments."""
        return finish_totals(parts, self.sizes if self.how == "mean" else None)

    @property
    def sizes(self) -> list[int]:
        """Number of observations in each group."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels))
        return [int(count) for count in counts]


def finish_totals(
    parts: Iterable[Mapping[str, np.ndarray]], sizes: Sequence[int] | None
) -> np.ndarray:
    """Sums of all parts in their order, divided by ``sizes`` of the groups if they are given."""
    total: np.ndarray | None = None
    for part in parts:
        total = part["sum"] if total is None else total + part["sum"]
    assert total is not None
    if sizes is None:
        return total
    return np.asarray(total / np.reshape(sizes, (-1, *(1,) * (total.ndim - 2))))


def numbered(labels: Iterable[object]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of groups, sorted, and the group number of each observation; -1 where none is given.

    None, NaN and pandas' missing values are no group. A categorical keeps its own order, numbers
    that of their size.
    """
    categories = getattr(getattr(labels, "cat", labels), "categories", None)
    given = list(labels.tolist() if isinstance(labels, torch.Tensor) else labels)
    same: dict[object, str] = {}  # 1 and 1.0 are one group
    values = [None if _missing(value) else _named(value, same) for value in given]
    present = {
        value: label for value, label in zip(values, given, strict=True) if value is not None
    }
    if categories is not None:
        names = tuple(str(value) for value in categories if str(value) in present)
    elif all(isinstance(label, numbers.Real) for label in present.values()):
        names = tuple(sorted(present, key=lambda value: present[value]))
    else:
        names = tuple(sorted(present))
    places = {name: place for place, name in enumerate(names)}
    codes = [-1 if value is None else places[value] for value in values]
    return names, np.array(codes, np.int64)


def _named(value: object, same: dict[object, str]) -> str:
    return same.setdefault(value, str(value)) if isinstance(value, numbers.Real) else str(value)


def _missing(value: object) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or bool(value != value)
