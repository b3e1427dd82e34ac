"""The two pictures and the short table of docs/benchmarks.md, from the long tables of that page.

python docs/pictures/benchmarks_picture.py [FOLDER]
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "benchmarks.md"

#: Cases by their names in the long tables, and in words.
CASES = {
    "genes1000": "cell2location, 1,000 genes, 200 draws",
    "genes12000-200": "cell2location, 12,000 genes, 200 draws",
    "genes12000-1000": "cell2location, 12,000 genes, 1,000 draws",
    "observations32000": "cell2location, 32,000 spots, 100 draws",
    "factor-model": "factor model, 20,000 rows, 1,000 draws",
}
SIDES = ("pyro-posterior", "scvi-tools", "NumPyro", "Predictive")
COLOURS = ("#34688f", "#b0413e", "#c9a227", "#7a7a7a")


@dataclass(frozen=True)
class Run:
    """Median seconds and peak MiB of one side in one case."""

    seconds: float
    memory: float


def runs() -> dict[str, dict[str, Run]]:
    """By case and side, the fastest way of each side; what `side_by_side.py` printed."""
    found: dict[str, dict[str, Run]] = {}
    case = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if match := re.match(r"\*\*([\w-]+)\*\*: ", cells[0]):
            case = match[1]
        elif case in CASES and len(cells) == 8:
            side = next((side for side in SIDES if side in cells[0]), None)
            seconds, memory = _number(cells[2]), _number(cells[4])
            if side is None or seconds is None or memory is None:
                continue
            known = found.setdefault(case, {}).get(side)
            if known is None or seconds < known.seconds:
                found[case][side] = Run(seconds, memory)
    return found


def _number(text: str) -> float | None:
    match = re.match(r"[\d.,]+", text)
    return float(match[0].replace(",", "")) if match else None


def _short(value: float, digits: int = 2) -> str:
    return f"{float(f'{value:.{digits}g}'):,.12g}"


def short_table() -> str:
    """Markdown: how many times as long the others took, and how much more memory they needed."""
    lines = ["| case | beside | times as long | times the memory |", "|---|---|---|---|"]
    found = runs()
    for case, words in CASES.items():
        ours = found[case]["pyro-posterior"]
        for side, run in found[case].items():
            if side != "pyro-posterior":
                time, memory = run.seconds / ours.seconds, run.memory / ours.memory
                lines.append(f"| {words} | {side} | {_short(time)} | {_short(memory)} |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Bars on a logarithmic axis, seconds in one picture and memory in the other."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    found = runs()
    for what, title in (("seconds", "seconds, median"), ("memory", "peak memory, MiB")):
        figure, axes = plt.subplots(figsize=(8, 4.2))
        place, ticks = 0.0, []
        for case in reversed(CASES):
            sides = [side for side in reversed(SIDES) if side in found[case]]
            ticks.append(place + (len(sides) - 1) / 2)
            for side in sides:
                value = getattr(found[case][side], what)
                axes.barh(place, value, 0.9, color=COLOURS[SIDES.index(side)])
                axes.text(
                    value * 1.05, place, f"{side} {_short(value, 3)}", va="center", fontsize=8
                )
                place += 1
            place += 0.8
        axes.set_yticks(ticks, [CASES[case].replace(", ", "\n", 1) for case in reversed(CASES)])
        axes.set(xscale="log", xlabel=title)
        axes.margins(x=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(folder / f"benchmarks-{what}.svg", metadata={"Date": None})
        plt.close(figure)
    sys.stdout.write(short_table() + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
