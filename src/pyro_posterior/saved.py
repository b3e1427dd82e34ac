"""A trained model of scvi-tools or cell2location, from the folder it was saved to."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import operator
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro.infer.autoguide.utils
import torch

from pyro_posterior.errors import MissingPackageError, RequestError
from pyro_posterior.functions import find_function

logger = logging.getLogger(__name__)

MODEL_FILE = "model.pt"
_SCVI_MODULES = ("scvi.model", "scvi.external", "cell2location.models")


def allow_cell2location() -> None:
    """Let cell2location 0.1.5 be imported with pyro-ppl 1.9.2.

    It imports ``deep_getattr``, which Pyro no longer has; it is defined here as it was. Call this
    before ``import cell2location``.
    """
    if not hasattr(pyro.infer.autoguide.utils, "deep_getattr"):
        pyro.infer.autoguide.utils.deep_getattr = lambda obj, name: operator.attrgetter(name)(obj)


def load_saved(
    folder: Path, adata: str | None, model_class: str | None = None, *, backed: bool = False
) -> Any:
    """The model in ``folder``, with its data.

    Parameters
    ----------
    folder
        What ``model.save`` wrote. It holds a pickle: load only what you trust.
    adata
        The ``.h5ad`` file of its data.
    model_class
        ``module:Class``, where it is not one of scvi-tools or cell2location.
    backed
        Leave the matrix in the file, of which rows are read as they are needed, where the class of
        the model can do with that (Cell2location cannot).

    Raises
    ------
    RequestError
        The folder, the data or the class do not fit.
    MissingPackageError
        scvi-tools is not installed.
    """
    if not (folder / MODEL_FILE).is_file():
        raise RequestError(
            f"{str(folder)!r} is a directory without {MODEL_FILE}: give the directory that a "
            "scvi-tools model was saved to (without a prefix), a store, or module:function"
        )
    if adata is None:
        raise RequestError(
            f"{str(folder)!r} is a saved model: give its data with --adata file.h5ad"
        )
    if not Path(adata).is_file():
        raise RequestError(f"--adata: there is no file {adata!r}")
    allow_cell2location()  # before anything is unpickled
    with quietly():
        try:
            import anndata

            import scvi  # noqa: F401
        except ImportError as error:
            raise MissingPackageError("scvi-tools", "scvi", "a saved scvi-tools model") from error
        cls = find_function(model_class) if model_class else _class_of(folder)
        load = getattr(cls, "load", None)
        if load is None:
            raise RequestError(f"--model-class {model_class} has no load(): give a model's class")
        try:
            data = anndata.read_h5ad(adata, backed="r" if backed else None)
        except Exception as error:
            raise RequestError(
                f"--adata {adata!r} cannot be read as an .h5ad file: {_first_line(error)}"
            ) from error
        try:
            return load(str(folder), adata=data)
        except Exception as error:
            if backed:  # some classes compute with the whole matrix
                logger.info("loading again with the matrix in memory: %s", _first_line(error))
                return load_saved(folder, str(adata), model_class)
            raise RequestError(
                f"{str(folder)!r} cannot be loaded as a {cls.__name__} with {adata!r}: "
                f"{_first_line(error)}. Give the data it was trained with, and the versions of its "
                "packages; -v shows the whole error"
            ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """What packages print while a model is loaded (a step of training, with its bar) is kept back.

    It is logged at level INFO, which the command line shows with ``-v``.
    """
    said = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        if text := said.getvalue().strip():
            logger.info("said while loading:\n%s", text)


def _class_of(folder: Path) -> Any:
    """The class that the saved registry names, by looking where such classes live."""
    file = str(folder / MODEL_FILE)
    try:
        saved = torch.load(file, map_location="cpu", weights_only=False)
        name = saved["attr_dict"]["registry_"]["model_name"]
    except Exception as error:
        raise RequestError(
            f"{file!r} does not name the class of a scvi-tools model ({_first_line(error)}): give "
            "--model-class module:Class"
        ) from error
    absent = []
    for module in _SCVI_MODULES:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError as error:
            absent.append(f"{module} does not import ({_first_line(error)})")
            continue
        if found is not None:
            return found
    raise RequestError(
        f"the saved model is a {name!r}, which is not in {', '.join(_SCVI_MODULES)}: give "
        f"--model-class module:{name}" + "".join(f"; {words}" for words in absent)
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
