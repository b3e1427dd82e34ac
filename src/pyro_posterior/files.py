"""Files that are either whole or not there: written beside their place, then renamed.

For a file that a person asked for::

    check_target("report.html", inputs=["run.zarr"])  # before any drawing
    with replacing("report.html") as beside:
        beside.write_text(page, encoding="utf-8")
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pyro_posterior.errors import OutputError, PosteriorError

#: In the name of every file or folder still being written.
PARTIAL = ".partial"


def check_target(
    path: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()
) -> Path:
    """Where a file can be written; found out by making an empty one beside it.

    Parameters
    ----------
    path
        The file a person asked for; ``~`` is the home folder.
    inputs
        Files and folders that are read: neither they nor anything inside is a place to write to.

    Returns
    -------
    pathlib.Path
        The absolute path.

    Raises
    ------
    OutputError
        ``path`` is a folder or an input, lies in no folder, or cannot be written.
    """
    target = _absolute(path)
    with _telling(target):
        if target.is_dir():
            raise OutputError(f"cannot write {str(target)!r}: it is a folder; give a file's name")
        for source in map(_absolute, inputs):
            if _is_in(target, source):
                raise OutputError(
                    f"cannot write {str(target)!r}: it is read in the same call; give another name"
                )
        if not target.parent.is_dir():
            raise OutputError(
                f"cannot write {str(target)!r}: there is no folder {str(target.parent)!r}"
            )
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not _is_stream(target):
            beside = _beside(target.resolve())
            try:
                beside.touch(exist_ok=False)
            finally:
                beside.unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path to write to, which takes the name ``path`` once all is on the disk.

    It lies in the same folder and has the same ending. On any error the file that was there before
    stays as it was. A link is followed; a device or a pipe is written as it is.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    target = _absolute(path)
    with _telling(target):
        if _is_stream(target):
            yield target
            return
        target = target.resolve()
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        beside = _beside(target)
        try:
            yield beside
            if target.exists():
                shutil.copymode(target, beside)
            _to_disk(beside)
            beside.replace(target)
            sync_folder(target.parent)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


def write_whole(path: str, content: Any) -> None:
    """Write bytes to a file beside ``path``, to the disk itself, then give it its name."""
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with open(beside, "xb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        _to_disk(folder)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absolute(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if not text or "\0" in text:
        raise OutputError(f"{text!r} is no name of a file")
    return Path(os.path.abspath(os.path.expanduser(text)))


def _beside(target: Path) -> Path:
    """A free name in the folder of ``target``, with its ending, which says what is written."""
    return target.with_name(f".{uuid.uuid4().hex}{PARTIAL}{target.suffix}")


def _is_in(target: Path, source: Path) -> bool:
    """Whether a file is another one, by whatever name, or lies within a folder."""
    if target.exists() and source.exists() and target.samefile(source):
        return True
    return target.resolve().is_relative_to(source.resolve())


def _is_stream(path: Path) -> bool:
    """A device, a pipe or standard output: there is nothing beside it to rename."""
    if path.is_relative_to("/dev"):
        return True
    return path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir()


@contextlib.contextmanager
def _telling(target: Path) -> Iterator[None]:
    """Turn errors of the operating system into an `OutputError` that names the file."""
    try:
        yield
    except PosteriorError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {str(target)!r}: {reason}") from error
