"""Where a command writes: known to be possible before the work, and never its own input."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pyro_posterior.errors import OutputError, RequestError
from pyro_posterior.files import check_target

MODEL_FILE = "model.pt"


def check_file(flag: str, path: str | None, inputs: Iterable[str | None]) -> None:
    """Refuse a file that cannot be written, or that the command reads.

    Raises
    ------
    RequestError
        With the flag that names the file.
    """
    if path is None:
        return
    try:
        check_target(path, inputs=[each for each in inputs if each is not None])
    except OutputError as error:
        raise RequestError(f"{flag}: {error}") from error


def check_store(path: str | None, inputs: Iterable[str | None]) -> None:
    """Refuse a store's folder that holds a file which is read in the same call.

    Raises
    ------
    RequestError
        With the file or folder that is read.
    """
    if path is None:
        return
    store = Path(path).expanduser().resolve()
    for each in inputs:
        if each is None:
            continue
        read = Path(each).expanduser().resolve()
        if read.is_relative_to(store):
            raise RequestError(
                f"--store: {path!r} holds {each!r}, which is read in the same call: give the store a "
                "folder of its own"
            )


def file_of(target: str) -> str | None:
    """The file that a target is read from, if it is one: a Python file, or a saved model's."""
    where = target.rpartition(":")[0]
    if where.endswith(".py"):
        return where
    folder = Path(target).expanduser()
    return str(folder / MODEL_FILE) if folder.is_dir() else None
