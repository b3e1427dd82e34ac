"""What the demo's posterior says: the figures it prints, its table, its arrays and its picture."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.demo.counts import Reference
from pyro_posterior.errors import MissingPackageError
from pyro_posterior.posterior import Posterior
from pyro_posterior.reductions.plan import PREFIX

#: One colour per type, told apart by most colour-blind readers together with the row labels.
COLOURS = (
    *("#0072b2", "#56b4e9", "#004d66", "#d55e00", "#e69f00"),
    *("#7a5195", "#009e73", "#000000", "#cc3311", "#cc79a7"),
)


@dataclass(frozen=True)
class Verdict:
    """Which type is the largest in each cell, and how sure that is; arrays run over cells."""

    largest: np.ndarray  # index of the type with the largest mean abundance
    runner_up: np.ndarray  # index of the second
    overlap: np.ndarray  # whether the 90 % intervals of these two overlap
    right: np.ndarray  # whether the largest is the annotated type

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def judge(posterior: Posterior, reference: Reference) -> Verdict:
    """Compare the posterior abundances of every cell with its annotated type."""
    mean, low, high = abundances(posterior)
    order = np.argsort(mean, axis=1)
    largest, runner_up = order[:, -1], order[:, -2]
    cell = np.arange(len(mean))
    return Verdict(
        largest=largest,
        runner_up=runner_up,
        overlap=high[cell, runner_up] > low[cell, largest],
        right=largest == reference.labels,
    )


def abundances(posterior: Posterior) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, 5 % and 95 % quantile of the abundances, each ``(cell, type)``."""
    names = ("post_sample_means", "post_sample_q05", "post_sample_q95")
    mean, low, high = (posterior[name]["abundance"] for name in names)
    return mean, low, high


def confusions(verdict: Verdict, reference: Reference, most: int = 4) -> list[str]:
    """The most frequent wrong answers, as lines of text."""
    size = len(reference.types)
    pairs = reference.labels * size + verdict.largest
    counts = np.bincount(pairs[~verdict.right], minlength=size * size)
    lines = []
    for pair in np.argsort(-counts)[:most]:
        if counts[pair]:
            annotated, found = reference.types[pair // size], reference.types[pair % size]
            total = int((reference.labels == pair // size).sum())
            lines.append(f"{counts[pair]} of {total} {annotated} called {found}")
    return lines


def write_table(posterior: Posterior, reference: Reference, path: Path) -> None:
    """One row per cell and type: abundance and share with their summaries."""
    kinds = [name.removeprefix(PREFIX) for name in posterior if name.startswith(PREFIX)]
    columns = [(site, kind) for site in ("abundance", "share") for kind in kinds]
    arrays = [posterior[f"post_sample_{kind}"][site] for site, kind in columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["cell", "annotated", "type", *(f"{s}_{k}" for s, k in columns)])
        for row, name in enumerate(reference.names):
            annotated = reference.types[reference.labels[row]]
            for column, kind in enumerate(reference.types):
                values = (f"{array[row, column]:.6g}" for array in arrays)
                writer.writerow([name, annotated, kind, *values])


def write_arrays(posterior: Posterior, reference: Reference, path: Path) -> None:
    """All summaries of all sites as ``site/summary``, with the names of cells, genes and types."""
    arrays: dict[str, Any] = {
        f"{site}/{name.removeprefix(PREFIX)}": array
        for name, sites in posterior.items()
        if name.startswith(PREFIX)
        for site, array in sites.items()
    }
    names = {"cells": reference.names, "genes": reference.genes, "types": reference.types}
    annotated = reference.types[reference.labels]
    everything: dict[str, Any] = {**arrays, **names, "annotated": annotated}
    np.savez_compressed(path, **everything)


def draw_picture(posterior: Posterior, reference: Reference, verdict: Verdict, path: Path) -> None:
    """One row of panels per type: its abundance in every cell, with the 90 % interval.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("matplotlib", "plot", "The demo's picture") from error
    mean, low, high = abundances(posterior)
    order = np.lexsort((-mean[np.arange(len(mean)), reference.labels], reference.labels))
    labels = reference.labels[order]
    size, place = len(reference.types), np.arange(len(order))
    colours = np.array([COLOURS[label % len(COLOURS)] for label in labels])
    figure = Figure(figsize=(13, 0.92 * size + 1.6))
    FigureCanvasAgg(figure)
    panels = figure.subplots(size, 1, sharex=True)
    edges = np.flatnonzero(np.diff(labels)) + 0.5
    for kind, panel in enumerate(panels):
        bottom, top = low[order, kind], high[order, kind]
        panel.vlines(place, bottom, top, colors=colours, linewidth=1.3, alpha=0.55)
        panel.scatter(place, mean[order, kind], s=5, c=colours, linewidths=0, zorder=3)
        for edge in edges:
            panel.axvline(edge, color="0.85", linewidth=0.8, zorder=0)
        panel.set_ylabel(
            reference.types[kind], rotation=0, ha="right", va="center", fontsize=9, labelpad=12
        )
        panel.yaxis.label.set_color(COLOURS[kind % len(COLOURS)])
        panel.set_ylim(0, 1.02 * float(high.max()))
        panel.set_xlim(-1, len(order))
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xticks([])
    panels[-1].set_xlabel(
        f"{len(order)} held-out cells by annotated type, within it by the abundance of that type"
    )
    figure.suptitle(
        "Abundance of each type (one panel each) in every cell: posterior mean and 90 % interval, "
        "coloured by the annotated type of the cell\n"
        f"The largest type is the annotated one in {verdict.accuracy:.0%} of cells; in "
        f"{verdict.overlap.mean():.0%} the runner-up's interval overlaps it",
        fontsize=11,
        x=0.5,
        y=0.985,
    )
    figure.subplots_adjust(left=0.2, right=0.985, top=0.92, bottom=0.05, hspace=0.16)
    figure.savefig(path, dpi=130)
