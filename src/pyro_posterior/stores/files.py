"""Where a store is, reading and writing inside it without leaving it, and the room for what comes."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyro_posterior.errors import StoreError
from pyro_posterior.files import write_whole

#: No file of a store is larger: neither metadata nor a chunk.
LARGEST_FILE = 2_000_000_000


def as_folder(path: Any) -> Path:
    """The absolute path of a store: ``~`` is the home folder, a link is followed.

    Raises
    ------
    StoreError
        What is given is no path of a folder on this machine.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise StoreError(f"a store is named by the path of a folder, found {path!r}")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise StoreError(f"a store is named by the path of a folder, found {text!r}")
    if "://" in text:
        raise StoreError(
            f"{text!r} is an address; a store is a folder on this machine: give its path"
        )
    with explained(Path(text), "find"):
        folder = Path(os.path.abspath(os.path.expanduser(text)))
        try:
            folder = folder.resolve() if folder.is_symlink() else folder
            os.stat(folder)  # what cannot be a path at all says so here
        except FileNotFoundError:
            pass
        except RuntimeError as error:  # a link that leads to itself, before Python 3.13
            raise StoreError(f"cannot find the store {text!r}: {error}") from error
    return folder


@contextlib.contextmanager
def explained(path: Path, doing: str, kept: Callable[[], str] | None = None) -> Iterator[None]:
    """Turn errors of the operating system into a `StoreError` that says what is kept."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        after = f"; {state}" if kept and (state := kept()) else ""
        raise StoreError(f"cannot {doing} the store {str(path)!r}: {reason}{after}") from error


def read_inside(root: Path, *parts: str) -> bytes:
    """The whole content of a file of the store.

    Raises
    ------
    StoreError
        It is missing, no plain file, too large, or cannot be read.
    """
    file = os.path.join(root, *parts)
    try:
        with open(file, "rb", buffering=0, opener=_without_waiting) as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
                raise damaged(root, f"{file!r} is no file that belongs to it")
            return opened.read()
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise damaged(root, f"the file {file!r} is missing") from error
    except OSError as error:
        raise StoreError(f"cannot read {file!r}: {error.strerror}") from error


def _without_waiting(file: str, flags: int) -> int:
    """As ``open``; a pipe that somebody put there would keep it waiting."""
    return os.open(file, flags | getattr(os, "O_NONBLOCK", 0))


def write_inside(root: Path, content: bytes, *parts: str) -> None:
    """Write a file of the store whole; links on the way to it are not followed."""
    write_whole(os.path.join(folder_inside(root, *parts[:-1]), parts[-1]), content)


def folder_inside(root: Path, *parts: str) -> str:
    """A folder of the store, made where it is not there.

    Raises
    ------
    StoreError
        On the way lies a link or a file.
    """
    folder = str(root)
    for part in parts:
        folder = os.path.join(folder, part)
        try:
            mode = os.lstat(folder).st_mode
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            mode = os.lstat(folder).st_mode
        if not stat.S_ISDIR(mode):
            raise StoreError(
                f"{folder!r} in the store is a link or a file where a folder belongs; nothing "
                "is written through it: remove it, or give another path"
            )
    return folder


def damaged(root: Path, what: str) -> StoreError:
    """The error for a store with which something is wrong."""
    return StoreError(
        f"the store {str(root)!r} is damaged: {what}. Restore it from a copy, or draw again with "
        "overwrite=True"
    )


def check_room(path: Path, wanted: float, freed: int = 0) -> None:
    """Compare what is to be written with the room on the disk, and with what will be removed there."""
    nearest = path
    while not nearest.exists():
        nearest = nearest.parent
    free = shutil.disk_usage(nearest).free + freed
    if wanted > free:
        raise StoreError(
            f"up to {in_words(wanted)} are to be written to {str(path)!r}, but only "
            f"{in_words(free)} are free there: make room, give another path, ask for fewer sites "
            "or samples, or leave out return_samples"
        )


def in_words(size: float) -> str:
    """Bytes for a person to read."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
