"""``pyro-posterior report``: a store as one web page."""

from __future__ import annotations

import argparse
from typing import Any

from pyro_posterior.cli.options import PROG, add_command, open_store
from pyro_posterior.cli.outputs import check_file
from pyro_posterior.printable import printable


def report(options: argparse.Namespace) -> None:
    """Write a store as one web page."""
    check_file("-o", options.output, [options.store])
    write_page(open_store(options.store), options.output, title=options.title)


def write_page(posterior: Any, path: str, **options: Any) -> None:
    """Write the page and say where it lies."""
    from pyro_posterior.exports.report import write_report

    print(f"report: {printable(str(write_report(posterior, path, **options)))}")


def add_report(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands, report, "report", f"  {PROG} report posterior.zarr -o report.html"
    )
    parser.add_argument("store", metavar="STORE", help="folder of a finished store")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE", help="%(default)s")
    parser.add_argument("--title", default="Posterior report", help="heading of the page")
