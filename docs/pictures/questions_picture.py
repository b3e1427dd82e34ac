"""Pictures of docs/questions: means of two groups and their difference, intervals of predictions.

python docs/pictures/questions_picture.py [FOLDER]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).parents[1]


def names_of(page: str) -> dict[str, Any]:
    """What the first block of a page leaves behind."""
    text = (DOCS / "questions" / page).read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)[0], found)
    return found


def groups(path: Path) -> None:
    """Draws of the means of two groups against each other, and a histogram of their difference."""
    names = names_of("groups.md")
    draws, difference = names["posterior"].draws["w_by_region"], names["difference"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    left.plot(*draws[::4].T, ".", color="#34688f", markersize=4)
    left.set(xlabel="mean of w, normal", ylabel="mean of w, tumour")
    right.hist(difference.draws, bins=30, color="#34688f")
    right.axvline(0, color="#b0413e")
    right.set(xlabel="tumour - normal", yticks=[])
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def predictions(path: Path) -> None:
    """90 % intervals of predictions and of their mean along x."""
    names = names_of("predict.md")
    x, posterior = names["new"].numpy(), names["posterior"]
    figure, axis = plt.subplots(figsize=(5.5, 3.6))
    for site, shade in (("y", 0.35), ("y_expected", 0.9)):
        low, high = posterior.q05[site], posterior.q95[site]
        axis.fill_between(x, low, high, color="#34688f", alpha=shade, lw=0, label=site)
    axis.set(xlabel="x", ylabel="90 % interval")
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    plt.rcParams["svg.hashsalt"] = "pyro-posterior"
    groups(folder / "groups.svg")
    predictions(folder / "predictions.svg")
