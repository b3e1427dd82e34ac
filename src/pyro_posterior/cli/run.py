"""``pyro-posterior run``: draw from a posterior and keep the result."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Sequence
from typing import Any

from pyro_posterior.cli.asked import read_derived, read_do, read_grouped, read_summaries
from pyro_posterior.cli.labels import read_coords, read_dims
from pyro_posterior.cli.options import PROG, UNSET, add_command, add_target, load
from pyro_posterior.cli.outputs import check_file, check_store, file_of
from pyro_posterior.cli.report import write_page
from pyro_posterior.errors import RequestError
from pyro_posterior.printable import printable

#: Options that are no arguments of `sample_posterior`.
_OWN = {"command", "verbose", "target", "adata", "model_class", "report"}


def run(options: argparse.Namespace) -> None:
    """Draw from the posterior and keep the result."""
    from pyro_posterior.exports.vega import need_vega
    from pyro_posterior.functions import find_function

    given = {name: value for name, value in vars(options).items() if name not in _OWN}
    store = given.get("store")
    if store is None and options.report is None:
        raise RequestError("give --store FOLDER, --report FILE or both, so that the result is kept")
    read = [file_of(options.target), options.adata]
    check_store(store, read)
    check_file("--report", options.report, [*read, store])
    if options.report is not None:
        need_vega("--report")  # before the drawing, not after
    if "to_args" in given:
        given["to_args"] = find_function(given["to_args"])
    if "summary_fun" in given:
        given["summary_fun"] = read_summaries(given["summary_fun"])
    for name, reader in (("grouped", read_grouped), ("derived", read_derived), ("do", read_do)):
        if name in given:
            given[name] = dict(map(reader, given[name]))
    if "coords" in given:
        given["coords"] = read_coords(given["coords"])
    if "dims" in given:
        given["dims"] = dict(map(read_dims, given["dims"]))
    with contextlib.ExitStack() as stack:
        if "client" in given:
            given["client"] = stack.enter_context(_client(given["client"]))
        posterior = load(options).sample(given)
    print(printable(repr(posterior)))
    if store is not None:
        print(f"store: {printable(store)}")
    if options.report is not None:
        write_page(posterior, options.report)


def how_to_go_on(options: argparse.Namespace, argv: Sequence[str]) -> str:
    """What is said at an interruption."""
    store = getattr(options, "store", None)
    if options.command is not run:
        return f"\n{PROG}: interrupted"
    if store is None:
        return f"\n{PROG}: interrupted; nothing was kept. With --store FOLDER a run can be resumed."
    again = [PROG, *(word for word in argv if word != "--overwrite")]
    return (
        f"\n{PROG}: interrupted. To go on from what is complete in {store}:\n  {shlex.join(again)}"
    )


def add_run(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
        commands,
        run,
        "run",
        f"  {PROG} run my_model/ --adata cells.h5ad --store posterior.zarr --seed 1\n"
        f"  {PROG} run fit.py:fitted --num-samples 500 --report report.html",
    )
    # The target first: the lists of sites would otherwise take it for one more.
    parser.usage = "%(prog)s TARGET [options]"
    add_target(
        parser,
        "directory of a saved scvi-tools model, or module:function (or file.py:function) that "
        "returns (model, guide, data) or a dict of arguments of sample_posterior",
    )
    # A flag that is not given leaves the function's own default, so none has one here.
    add = parser.add_argument_group("what to draw").add_argument
    add(
        "--num-samples",
        type=_count,
        default=UNSET,
        metavar="N",
        help="joint draws (default 1000), or auto: as many as --mcse ERROR asks for",
    )
    add("--max-samples", type=int, default=UNSET, metavar="N", help="most for auto (10000)")
    add("--return-sites", nargs="+", default=UNSET, metavar="SITE", help="only these sites")
    add("--exclude-sites", nargs="+", default=UNSET, metavar="SITE", help="all but these sites")
    add("--return-observed", action="store_true", default=UNSET, help="observed sites too")
    add("--return-samples", action="store_true", default=UNSET, help="keep all draws")
    add(
        "--summary",
        dest="summary_fun",
        action="append",
        default=UNSET,
        metavar="NAME",
        help="a summary in place of means, sds and quantiles, such as hdi90, prob>0 or "
        "median=numpy:median (NAME=MODULE:FUNCTION); may be given several times",
    )
    add(
        "--coords",
        action="append",
        default=UNSET,
        metavar="DIM=FILE:COLUMN",
        help="labels along a dimension, such as cells=cells.csv:id; may be given several times",
    )
    add(
        "--dims",
        action="append",
        default=UNSET,
        metavar="SITE=AXIS,AXIS",
        help="names of a site's axes, such as weights=cells,factor; may be given several times",
    )
    add(
        "--predictive",
        nargs="?",
        const=True,
        choices=("new",),
        default=UNSET,
        help="draw the observed sites anew; 'new': for data that were not fitted",
    )
    add("--expected", action="store_true", default=UNSET, help="means of predictions, not draws")
    add(
        "--infer-discrete",
        nargs="?",
        const=True,
        choices=("mode",),
        default=UNSET,
        help="draw discrete sites that the fit summed out; 'mode': their most probable values",
    )
    add("--log-likelihood", action="store_true", default=UNSET, help="pointwise log densities")
    add(
        "--derived",
        action="append",
        default=UNSET,
        metavar="NAME=MODULE:FUNCTION",
        help="a function of one joint draw as a site; may be given several times",
    )
    add(
        "--grouped",
        action="append",
        default=UNSET,
        metavar="NAME=SITE:HOW:LABELS",
        help="mean or sum over groups of observations, such as by=w:mean:cells.csv:region, or with "
        "a column of the model's AnnData, by=w:mean:region; may be given several times",
    )
    add(
        "--do",
        action="append",
        default=UNSET,
        metavar="SITE=NUMBER",
        help="set a site to a number; may be given several times",
    )
    add("--seed", type=int, default=UNSET, help="the same seed gives the same numbers")
    add = parser.add_argument_group("how to draw").add_argument
    add("--batch-size", type=int, default=UNSET, metavar="N", help="observations per minibatch")
    add("--obs-plate", default=UNSET, metavar="NAME", help="plate of the observations")
    add(
        "--to-args",
        default=UNSET,
        metavar="MODULE:FUNCTION",
        help="turns a batch into the model's (args, kwargs)",
    )
    add("--threads", type=int, default=UNSET, metavar="N", help="draw side by side on N threads")
    add("--engine", choices=("auto", "sliced", "loop"), default=UNSET, help="default auto")
    add("--draws", choices=("stratified", "independent"), default=UNSET, help="default stratified")
    add(
        "--mcse",
        nargs="?",
        const=True,
        type=float,
        default=UNSET,
        metavar="ERROR",
        help="Monte Carlo errors of the summaries too; a number: the largest, in posterior sds",
    )
    add("--accelerator", default=UNSET, help="auto, cpu, gpu, cuda, mps or tpu (default auto)")
    add("--device", type=_device, default=UNSET, help="number or name of the device")
    add(
        "--shard",
        type=_shard,
        default=UNSET,
        metavar="I/N",
        help="draw share I of N (from 0), or auto: as SLURM or torchrun say; needs --store",
    )
    add(
        "--client",
        "--dask",
        default=UNSET,
        metavar="ADDRESS",
        help="draw on the workers of this Dask scheduler",
    )
    add = parser.add_argument_group("where the result goes").add_argument
    add("--store", default=UNSET, metavar="FOLDER", help="Zarr store; an unfinished one is resumed")
    add("--overwrite", action="store_true", default=UNSET, help="start the store anew")
    add("--report", metavar="FILE", help="also write the report page")
    add(
        "--no-progress",
        dest="show_progress",
        action="store_false",
        default=UNSET,
        help="no progress bar",
    )


def _count(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _device(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _shard(text: str) -> tuple[int, int] | str:
    if text == "auto":
        return text
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither I/N, such as 0/4, nor auto")
    return int(index), int(count)


def _client(address: str) -> Any:
    from pyro_posterior.errors import MissingPackageError

    try:
        from distributed import Client
    except ImportError as error:
        raise MissingPackageError("distributed", "dask", "--client") from error
    try:
        return Client(address)
    except (OSError, ValueError) as error:
        raise RequestError(f"--client: no scheduler answers at {address!r}: {error}") from error
