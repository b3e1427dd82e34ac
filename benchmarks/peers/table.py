"""Runs to lines of one Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from peers.cases import Case
from peers.runs import Record, Run, Side

HEAD = (
    "run",
    "runs",
    "seconds (median, range)",
    "CPU seconds",
    "peak MiB",
    "theirs / ours",
    "CPU / ours",
    "memory / ours",
)


@dataclass(frozen=True)
class Cost:
    """Medians of the runs of one side."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def cost_of(side: Side, runs: Sequence[Run]) -> Cost:
    """Medians; seconds multiplied where the side was measured on fewer draws."""
    seconds = side.times * median(run.seconds for run in runs)
    cpu_seconds = side.times * median(run.cpu_seconds for run in runs)
    return Cost(seconds, cpu_seconds, median(run.peak_mib for run in runs))


def lines_of(case: Case, record: Record) -> list[tuple[str, ...]]:
    """Rows of one case; the first holds its title."""
    pinned = f"pinned to {case.cpus} CPU{'s' if case.cpus > 1 else ''}, as many threads"
    aim = f"; aims at {case.target}" if case.target else ""
    rows: list[tuple[str, ...]] = [(f"**{case.name}**: {case.title} ({pinned}{aim})",)]
    ours: Cost | None = None
    for side in (side for alternatives in case.sides for side in alternatives):
        runs = record.of(side.key(case.cpus))
        if not runs:
            continue
        cost = cost_of(side, runs)
        rows.append((*_row(side, runs, cost), *_ratios(cost, ours if case.compare else None)))
        ours = ours or cost
    return rows


def _row(side: Side, runs: Sequence[Run], cost: Cost) -> tuple[str, ...]:
    each = [side.times * run.seconds for run in runs]
    notes = dict(runs[-1].notes)
    label = side.label
    if "tier" in notes:
        label += f" ({notes['tier']})"
    if "compilation" in notes:
        label += f" (compiled before; that took {notes['compilation']:.1f} s)"
    peak = f"{cost.peak_mib:,.0f}"
    if "result_mib" in notes:
        peak += f" (result {notes['result_mib']:,.0f})"
    spread = f"{cost.seconds:.3g} ({min(each):.3g} to {max(each):.3g})"
    return label, str(len(runs)), spread, f"{cost.cpu_seconds:.3g}", peak


def _ratios(cost: Cost, ours: Cost | None) -> tuple[str, str, str]:
    if ours is None:
        return "", "", ""
    ratios = (
        cost.seconds / ours.seconds,
        cost.cpu_seconds / ours.cpu_seconds,
        cost.peak_mib / max(ours.peak_mib, 1e-9),
    )
    first, second, third = (f"{ratio:.3g}" for ratio in ratios)
    return first, second, third


def printed(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = HEAD) -> str:
    """A Markdown table with aligned columns; a row of one cell spans the table."""
    cells = [head, *rows]
    wide = [row for row in cells if len(row) > 1]
    widths = [max(len(row[i]) for row in wide) for i in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        if len(row) == 1:
            return f"| {row[0]} |" + " |" * (len(head) - 1)
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(head), ruler, *(line(row) for row in rows)])
