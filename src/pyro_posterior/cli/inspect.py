"""``pyro-posterior inspect``: the sites of a model or of a store."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_posterior.cli.options import PROG, UNSET, add_command, add_target, load, open_store
from pyro_posterior.printable import printable

if TYPE_CHECKING:
    from pyro_posterior.contracts import Site


def inspect(options: argparse.Namespace) -> None:
    """List the sites of a model or of a store, without sampling."""
    where = Path(options.target).expanduser()
    if (where / "zarr.json").is_file():
        head, listed = _of_store(where, options.shards)
    else:
        head, listed = _of_model(options)
    if options.json:
        print(json.dumps([_as_dict(site, shape) for site, shape in listed], indent=2))
        return
    rows = [_as_row(site, shape) for site, shape in listed]
    print("\n".join([*head, *_aligned([("site", "kind", "scope", "shape", "dtype"), *rows])]))


def _of_store(
    where: Path, shards: int | None
) -> tuple[list[str], list[tuple[Site, tuple[int, ...]]]]:
    from pyro_posterior.executors.shards import shares_in_words
    from pyro_posterior.stores.read import read_progress

    progress = read_progress(where)
    plan = progress.header.plan
    missing = shares_in_words(progress.missing, sorted(progress.header.segments), shards)
    head = [
        f"unfinished: {progress}",
        f"missing segments: {missing or 'none, but it is not closed'}",
    ]
    if progress.finished:  # read, so that damage is noticed
        head = [printable(line) for line in repr(open_store(str(where))).split("\n")[:2]]
    return head, [(site, site.full_shape(plan.num_obs)) for site in plan.sites]


def _of_model(options: argparse.Namespace) -> tuple[list[str], list[tuple[Site, tuple[int, ...]]]]:
    names = ("batch_size", "obs_plate")
    given = {name: getattr(options, name) for name in names if hasattr(options, name)}
    table = load(options).sites(given)
    plate = f"observation plate {table.obs_plate!r}" if table.obs_plate else "no plate"
    head = [f"{plate}, {table.sizes[0]} rows in the first minibatch"]
    return head, [(site, site.shape) for site in table.sites]


def _as_row(site: Site, shape: tuple[int, ...]) -> tuple[str, ...]:
    dtype = str(site.dtype).removeprefix("torch.")
    return printable(site.name, lines=False), site.kind, site.scope, str(shape), dtype


def _as_dict(site: Site, shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        "name": site.name,
        "kind": site.kind,
        "scope": site.scope,
        "shape": list(shape),
        "dtype": str(site.dtype).removeprefix("torch."),
        "dims": list(site.dims),
        "batch_axis": site.batch_axis,
    }


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def add_inspect(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        inspect,
        "inspect",
        f"  {PROG} inspect fit.py:fitted\n  {PROG} inspect posterior.zarr",
    )
    add_target(parser, "a store, a saved scvi-tools model, or module:function as in run")
    parser.add_argument("--batch-size", type=int, default=UNSET, metavar="N", help="as in run")
    parser.add_argument("--obs-plate", default=UNSET, metavar="NAME", help="as in run")
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="of how many shares (run --shard I/N) to say which has the missing segments",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
