"""Orders in which rows and columns of a table are told apart by eye: similar ones side by side."""

from __future__ import annotations

import numpy as np

_MOST_CLUSTERED = 160  # rows; beyond that they are laid along their first principal component


def similar_first(table: np.ndarray) -> np.ndarray:
    """Order of the rows of ``(row, column)`` in which neighbours are alike.

    By clustering (average linkage of correlation distances, branches turned so that ends that
    meet are alike), for many rows by their score on the first principal component.
    """
    filled = np.where(np.isfinite(table), table, 0.0).astype(np.float64)
    if len(filled) < 3:
        return np.arange(len(filled))
    rows = filled - filled.mean(axis=0)
    if filled.shape[1] == 1:
        return np.argsort(-filled[:, 0], kind="stable")
    if len(filled) > _MOST_CLUSTERED:
        left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
        score = left[:, 0] * sizes[0]
        return np.argsort(score if score[np.argmax(np.abs(score))] < 0 else -score, kind="stable")
    return np.array(_clustered(_distances(rows)))


def _distances(rows: np.ndarray) -> np.ndarray:
    """One minus the cosine of each pair of rows."""
    length = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(length > 0, length, 1.0)[:, None]
    return 1.0 - unit @ unit.T


def _clustered(distances: np.ndarray) -> list[int]:
    """Leaves of the tree of average linkage."""
    between = distances.copy()
    np.fill_diagonal(between, np.inf)
    leaves = {number: [number] for number in range(len(between))}
    while len(leaves) > 1:
        one, other = divmod(int(np.argmin(between)), len(between))
        ours, theirs = len(leaves[one]), len(leaves[other])
        leaves[one] = _joined(leaves[one], leaves.pop(other), distances)
        mean = (ours * between[one] + theirs * between[other]) / (ours + theirs)
        between[one], between[:, one] = mean, mean
        between[one, one] = np.inf
        between[other], between[:, other] = np.inf, np.inf
    return next(iter(leaves.values()))


def _joined(one: list[int], other: list[int], distances: np.ndarray) -> list[int]:
    """Two branches behind each other, each turned so that the ends that meet are the closest."""
    ways = ((a, b) for a in (one, one[::-1]) for b in (other, other[::-1]))
    best = min(ways, key=lambda way: float(distances[way[0][-1], way[1][0]]))
    return [*best[0], *best[1]]


def evenly(number: int, most: int) -> np.ndarray:
    """At most so many places among ``number``, the first and the last among them."""
    if number <= most:
        return np.arange(number)
    return np.unique(np.linspace(0, number - 1, most).round().astype(np.int64))
