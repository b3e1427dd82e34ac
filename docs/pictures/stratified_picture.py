"""The picture of docs/stratified.md: independent and stratified draws of two normal variables.

python docs/pictures/stratified_picture.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import torch

from pyro_posterior.keyed.fills import NORMAL, fill
from pyro_posterior.keyed.keys import Key, Where

matplotlib.use("agg")
import matplotlib.pyplot as plt

DRAWS = 100


def main(path: Path) -> None:
    """Draw 100 of each, as points and as one row of ticks for each variable."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
    for panel, title, cubes in (
        (axes[0], "independent", ()),
        (axes[1], "stratified", (DRAWS,)),
    ):
        at = Where(2, range(DRAWS), 0, cubes)
        x = fill(NORMAL, Key("z", 0, True), at, (2,), torch.float32, torch.device("cpu")).numpy()
        panel.plot(*x.T, ".", color="#34688f")
        panel.plot(x[:, 0], [-3.4] * DRAWS, "|", color="#b0413e", markersize=8)
        panel.plot([-3.4] * DRAWS, x[:, 1], "_", color="#b0413e", markersize=8)
        mean = f"{x[:, 0].mean():.3f}"
        panel.set(title=f"{DRAWS} {title} draws, mean {mean}", xlim=(-3.7, 3.4), ylim=(-3.7, 3.4))
        panel.set_aspect("equal")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("stratified.svg"))
