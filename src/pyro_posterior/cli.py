"""The command ``pyro-posterior``: a thin face of the library's functions."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import logging
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyro_posterior.contracts import Site
from pyro_posterior.errors import (
    MissingPackageError,
    PosteriorError,
    PosteriorWarning,
    RequestError,
)
from pyro_posterior.labels import full_shape
from pyro_posterior.posterior import Posterior

PROG = "pyro-posterior"
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

_EXIT_CODES = """\
exit codes:
  0    done
  1    failed while working: a store cannot be read or written, or the model raised
  2    the command, its arguments or the data do not fit; nothing was drawn
  130  interrupted (Ctrl-C)
"""

#: Options of ``run`` that go to `sample_posterior` under the same name.
_PASSED_ON = (
    "num_samples",
    "return_sites",
    "exclude_sites",
    "obs_plate",
    "to_args",
    "batch_size",
    "accelerator",
    "device",
    "return_observed",
    "return_samples",
    "summary_fun",
    "seed",
    "engine",
    "store",
    "overwrite",
    "show_progress",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    options = parser.parse_args(argv)
    _log_to_stderr(options.verbose)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        with warnings.catch_warnings():
            warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
            command(options)
    except KeyboardInterrupt:
        _say(_interrupted(options, argv))
        return INTERRUPTED
    except PosteriorError as error:
        _say_error(error, options.verbose)
        return MISUSED if isinstance(error, RequestError | MissingPackageError) else FAILED
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return FAILED
    except OSError as error:
        _say_error(error, options.verbose)
        return FAILED
    return DONE


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Draw from the posterior of a fitted Pyro model, look at it, pass it on.",
        epilog=f"example:\n  {PROG} demo\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {_own_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_inspect(commands)
    _add_report(commands)
    _add_export(commands)
    _add_demo(commands)
    return parser


# ------------------------------------------------------------------------------------------ commands


def run(options: argparse.Namespace) -> None:
    """Draw from the posterior and keep the result."""
    from pyro_posterior.functions import find_function

    if getattr(options, "store", None) is None and options.report is None:
        raise RequestError("give --store FOLDER, --report FILE or both, so that the result is kept")
    _writable(options.report)
    given = {name: getattr(options, name) for name in _PASSED_ON if hasattr(options, name)}
    if "to_args" in given:
        given["to_args"] = find_function(given["to_args"])
    if "summary_fun" in given:
        given["summary_fun"] = dict(map(_summary, given["summary_fun"]))
    posterior = _load(options).sample(given)
    print(posterior)
    if "store" in given:
        print(f"store: {given['store']}")
    if options.report is not None:
        _report(posterior, options.report)


def inspect(options: argparse.Namespace) -> None:
    """List the sites of a model or of a store, without sampling."""
    if _is_store(options.target):
        from pyro_posterior.stores.reading import progress, read_plan

        plan, marks = read_plan(Path(options.target))
        sites, head = plan.sites, [f"unfinished: {progress(marks)}"]
        if marks.all():  # read, so that damage is noticed
            head = repr(_open(options.target)).splitlines()[:2]

        def shape_of(site: Site) -> tuple[int, ...]:
            return full_shape(site, plan.num_obs)

    else:
        given = {name: getattr(options, name) for name in _PASSED_ON if hasattr(options, name)}
        table = _load(options).sites(given)
        plate = f"observation plate {table.obs_plate!r}" if table.obs_plate else "no plate"
        sites, head = table.sites, [f"{plate}, {table.first_size} rows in the first minibatch"]

        def shape_of(site: Site) -> tuple[int, ...]:
            return site.shape

    if options.json:
        print(json.dumps([_as_dict(site, shape_of(site)) for site in sites], indent=2))
    else:
        rows = [_as_row(site, shape_of(site)) for site in sites]
        print("\n".join([*head, *_aligned([("site", "kind", "scope", "shape", "dtype"), *rows])]))


def report(options: argparse.Namespace) -> None:
    """Write a store as one web page."""
    _report(_open(options.store), options.output, title=options.title)


def export(options: argparse.Namespace) -> None:
    """Write a store in another format."""
    output = options.output or Path(options.store).with_suffix(_EXPORTS[options.to][0]).name
    _writable(output)
    _EXPORTS[options.to][1](_open(options.store), output, options)
    print(f"{options.to}: {output}")


def demo(options: argparse.Namespace) -> None:
    """Fit a model to counts of blood cells, draw from it, write a store, a report and a picture."""
    from pyro_posterior.demo.run import run_demo

    run_demo(options.folder)


# ------------------------------------------------------------------------------------------- exports


def _to_arviz(posterior: Posterior, output: str, options: argparse.Namespace) -> None:
    from pyro_posterior.exports.arviz import to_arviz

    to_arviz(posterior).to_netcdf(output)


def _to_csv(posterior: Posterior, output: str, options: argparse.Namespace) -> None:
    from pyro_posterior.exports.pandas import to_pandas

    to_pandas(posterior, options.site).to_csv(output, index=False)


def _to_anndata(posterior: Posterior, output: str, options: argparse.Namespace) -> None:
    if options.adata is None:
        raise RequestError("--to anndata needs --adata file.h5ad, the data the results belong to")
    if not Path(options.adata).is_file():
        raise RequestError(f"--adata: there is no file {options.adata!r}")
    try:
        import anndata
    except ImportError as error:
        raise MissingPackageError("anndata", "scvi", "--to anndata") from error
    from pyro_posterior.exports.anndata import to_anndata

    adata = anndata.read_h5ad(options.adata)
    to_anndata(posterior, adata)
    adata.write_h5ad(output)


_EXPORTS: dict[str, tuple[str, Callable[[Posterior, str, argparse.Namespace], None]]] = {
    "arviz": (".nc", _to_arviz),
    "csv": (".csv", _to_csv),
    "anndata": (".h5ad", _to_anndata),
}


# ------------------------------------------------------------------------------------------- options


def _command(
    commands: Any, function: Callable[[argparse.Namespace], None], name: str, examples: str
) -> argparse.ArgumentParser:
    words = (function.__doc__ or "").strip()
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=words[0].lower() + words[1:].rstrip("."),
        description=words,
        epilog=f"example:\n{examples}\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=function)
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    return parser


def _add_target(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("target", metavar="TARGET", help=what)
    parser.add_argument("--adata", metavar="FILE", help="the .h5ad file of a saved model")
    parser.add_argument(
        "--model-class",
        metavar="MODULE:CLASS",
        help="class of a saved model that is not one of scvi-tools or cell2location",
    )


def _add_run(commands: Any) -> None:
    parser = _command(
        commands,
        run,
        "run",
        f"  {PROG} run my_model/ --adata cells.h5ad --store posterior.zarr --seed 1\n"
        f"  {PROG} run fit.py:fitted --num-samples 500 --report report.html",
    )
    # The target first: the lists of sites would otherwise take it for one more.
    parser.usage = "%(prog)s TARGET [options]"
    _add_target(
        parser,
        "directory of a saved scvi-tools model, or module:function (or file.py:function) that "
        "returns (model, guide, data) or a dict of arguments of sample_posterior",
    )
    # A flag that is not given leaves the function's own default, so none has one here.
    add = parser.add_argument_group("what to draw").add_argument
    unset: Any = argparse.SUPPRESS
    add("--num-samples", type=int, default=unset, metavar="N", help="joint draws (default 1000)")
    add("--return-sites", nargs="+", default=unset, metavar="SITE", help="only these sites")
    add("--exclude-sites", nargs="+", default=unset, metavar="SITE", help="all but these sites")
    add("--return-observed", action="store_true", default=unset, help="observed sites too")
    add("--return-samples", action="store_true", default=unset, help="keep all draws")
    add(
        "--summary",
        dest="summary_fun",
        action="append",
        default=unset,
        metavar="NAME=MODULE:FUNCTION",
        help="a summary in place of means, sds and quantiles, such as median=numpy:median; "
        "may be given several times",
    )
    add("--seed", type=int, default=unset, help="the same seed gives the same numbers")
    add = parser.add_argument_group("how to draw").add_argument
    add("--batch-size", type=int, default=unset, metavar="N", help="observations per minibatch")
    add("--obs-plate", default=unset, metavar="NAME", help="plate of the observations")
    add(
        "--to-args",
        default=unset,
        metavar="MODULE:FUNCTION",
        help="turns a batch into the model's (args, kwargs)",
    )
    add("--engine", choices=("auto", "sliced", "loop"), default=unset, help="default auto")
    add("--accelerator", default=unset, help="auto, cpu, gpu, cuda, mps or tpu (default auto)")
    add("--device", type=_device, default=unset, help="number or name of the device")
    add = parser.add_argument_group("where the result goes").add_argument
    add("--store", default=unset, metavar="FOLDER", help="Zarr store; an unfinished one is resumed")
    add("--overwrite", action="store_true", default=unset, help="start the store anew")
    add("--report", metavar="FILE", help="also write the report page")
    add(
        "--no-progress",
        dest="show_progress",
        action="store_false",
        default=unset,
        help="no progress bar",
    )


def _add_inspect(commands: Any) -> None:
    parser = _command(
        commands,
        inspect,
        "inspect",
        f"  {PROG} inspect fit.py:fitted\n  {PROG} inspect posterior.zarr",
    )
    _add_target(parser, "a store, a saved scvi-tools model, or module:function as in run")
    unset: Any = argparse.SUPPRESS
    parser.add_argument("--batch-size", type=int, default=unset, metavar="N", help="as in run")
    parser.add_argument("--obs-plate", default=unset, metavar="NAME", help="as in run")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _add_report(commands: Any) -> None:
    parser = _command(commands, report, "report", f"  {PROG} report posterior.zarr -o report.html")
    parser.add_argument("store", metavar="STORE", help="folder of a finished store")
    parser.add_argument("-o", "--output", default="report.html", metavar="FILE", help="%(default)s")
    parser.add_argument("--title", default="Posterior report", help="heading of the page")


def _add_export(commands: Any) -> None:
    parser = _command(
        commands,
        export,
        "export",
        f"  {PROG} export posterior.zarr --to arviz -o posterior.nc\n"
        f"  {PROG} export posterior.zarr --to csv --site weights -o weights.csv\n"
        f"  {PROG} export posterior.zarr --to anndata --adata cells.h5ad -o with_posterior.h5ad",
    )
    parser.add_argument("store", metavar="STORE", help="folder of a finished store")
    parser.add_argument("--to", choices=tuple(_EXPORTS), required=True, help="the format")
    parser.add_argument("-o", "--output", metavar="FILE", help="by default the store's name")
    parser.add_argument("--site", metavar="SITE", help="csv: this site; by default all scalars")
    parser.add_argument("--adata", metavar="FILE", help="anndata: the data, an .h5ad file")


def _add_demo(commands: Any) -> None:
    parser = _command(commands, demo, "demo", f"  {PROG} demo demo-output")
    parser.add_argument(
        "folder", nargs="?", default="demo-output", metavar="FOLDER", help="%(default)s"
    )


def _device(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _summary(text: str) -> tuple[str, Callable[..., Any]]:
    from pyro_posterior.functions import find_function

    name, equals, function = text.partition("=")
    if not equals or not name:
        raise RequestError(f"--summary {text!r} is not of the form NAME=MODULE:FUNCTION")
    return name, find_function(function)


# --------------------------------------------------------------------------------------------- words


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _log_to_stderr(verbose: bool) -> None:
    """What the library logs, on standard error; other packages' logging is left alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{PROG}: %(message)s"))
    logger = logging.getLogger("pyro_posterior")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


def _show_warning(others: Callable[..., None], message: Any, *place: Any) -> None:
    """The library's own warnings as a line; there is no line of the user's to point at."""
    if isinstance(message, PosteriorWarning):
        _say(f"{PROG}: warning: {message}")
    else:
        others(message, *place)


def _load(options: argparse.Namespace) -> Any:
    """The target; what its packages print while loading goes to standard error."""
    from pyro_posterior.targets import load_target

    with contextlib.redirect_stdout(sys.stderr):
        return load_target(options.target, options.adata, options.model_class)


def _say_error(error: BaseException, verbose: bool) -> None:
    if verbose:
        logging.getLogger(__name__).exception("the error came from here")
    _say("\n".join([f"{PROG}: error: {error}", *getattr(error, "__notes__", ())]))


def _own_version() -> str:
    try:
        return version(PROG)
    except PackageNotFoundError:
        return "(not installed)"


def _interrupted(options: argparse.Namespace, argv: Sequence[str]) -> str:
    store = getattr(options, "store", None)
    if options.command is not run:
        return f"\n{PROG}: interrupted"
    if store is None:
        return f"\n{PROG}: interrupted; nothing was kept. With --store FOLDER a run can be resumed."
    again = [PROG, *(word for word in argv if word != "--overwrite")]
    return (
        f"\n{PROG}: interrupted. To go on from what is complete in {store}:\n  {shlex.join(again)}"
    )


def _writable(path: str | None) -> None:
    """Refuse a file that cannot be written before the work, not after."""
    if path is not None and not Path(path).resolve().parent.is_dir():
        raise RequestError(f"cannot write {path!r}: its folder does not exist")


def _is_store(text: str) -> bool:
    return (Path(text) / "zarr.json").is_file()


def _open(path: str) -> Posterior:
    if not Path(path).exists():
        raise RequestError(f"there is no store {path!r}")
    return Posterior.open(path)


def _report(posterior: Posterior, path: str, **options: Any) -> None:
    from pyro_posterior.exports.report import write_report

    _writable(path)
    print(f"report: {write_report(posterior, path, **options)}")


def _as_row(site: Site, shape: tuple[int, ...]) -> tuple[str, ...]:
    return site.name, site.kind, site.scope, str(shape), str(site.dtype).removeprefix("torch.")


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


if __name__ == "__main__":
    raise SystemExit(main())
