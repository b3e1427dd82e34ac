"""``pyro-posterior export``: a store in another format, whole or not at all."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyro_posterior.cli.options import PROG, add_command, open_store
from pyro_posterior.cli.outputs import check_file
from pyro_posterior.cli.spreadsheets import as_cells
from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.files import replacing
from pyro_posterior.printable import printable


def export(options: argparse.Namespace) -> None:
    """Write a store in another format."""
    ending, write = _EXPORTS[options.to]
    output = options.output
    if options.to == "anndata":
        _check_adata(options.adata)
    if output is None:
        output = Path(options.store).absolute().with_suffix(ending).name
        if Path(output).exists():  # the caller named neither this file nor that it may go
            raise RequestError(f"there is a file {output!r}: give -o {output} to replace it")
    check_file("-o", output, [options.store, options.adata])
    posterior = open_store(options.store)
    with replacing(output) as beside:
        write(posterior, beside, options)
    print(f"{options.to}: {printable(output)}")


def _to_arviz(posterior: Any, output: Path, options: argparse.Namespace) -> None:
    from pyro_posterior.exports.netcdf import write_netcdf

    write_netcdf(posterior, output)


def _to_csv(posterior: Any, output: Path, options: argparse.Namespace) -> None:
    from pyro_posterior.exports.pandas import to_pandas

    as_cells(to_pandas(posterior, options.site)).to_csv(output, index=False)


def _to_anndata(posterior: Any, output: Path, options: argparse.Namespace) -> None:
    try:
        import anndata
    except ImportError as error:
        raise MissingPackageError("anndata", "scvi", "--to anndata") from error
    from pyro_posterior.exports.anndata import to_anndata

    try:
        adata = anndata.read_h5ad(options.adata)
    except Exception as error:
        raise RequestError(
            f"--adata {options.adata!r} cannot be read as an .h5ad file: "
            f"{type(error).__name__}: {error}"
        ) from error
    to_anndata(posterior, adata)
    adata.write_h5ad(output)


def _check_adata(path: str | None) -> None:
    if path is None:
        raise RequestError("--to anndata needs --adata file.h5ad, the data the results belong to")
    if not Path(path).is_file():
        raise RequestError(f"--adata: there is no file {path!r}")


_EXPORTS: dict[str, tuple[str, Callable[[Any, Path, argparse.Namespace], None]]] = {
    "arviz": (".nc", _to_arviz),
    "csv": (".csv", _to_csv),
    "anndata": (".h5ad", _to_anndata),
}


def add_export(commands: Any) -> None:
    """The command and its options."""
    parser = add_command(
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
