"""``pyro-posterior demo``: what ``make demo`` does."""

from __future__ import annotations

import argparse
from typing import Any

from pyro_posterior.cli.options import PROG, add_command


def demo(options: argparse.Namespace) -> None:
    """Fit a model to counts of blood cells, draw from it, write a store, a report and a picture."""
    from pyro_posterior.demo.run import run_demo

    run_demo(options.folder)


def add_demo(commands: Any) -> None:
    """The command and its option."""
    parser = add_command(commands, demo, "demo", f"  {PROG} demo demo-output")
    parser.add_argument(
        "folder", nargs="?", default="demo-output", metavar="FOLDER", help="%(default)s"
    )
