"""Where a store is, what a killed process left there, and the room for what comes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from pyro_posterior.errors import StoreError
from pyro_posterior.files import PARTIAL


def as_folder(path: Any) -> Path:
    """Where a store is, a link followed.

    Raises
    ------
    StoreError
        What is given is no path of a folder on this machine.
    """
    if not isinstance(path, str | os.PathLike) or not str(path):
        raise StoreError(f"a store is named by the path of a folder, found {path!r}")
    if "://" in str(path):
        raise StoreError(
            f"{str(path)!r} is an address; a store is a folder on this machine: give its path"
        )
    folder = Path(path)
    return folder.resolve() if folder.is_symlink() else folder


def remove_partials(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for left in [path for path in folder.rglob(f"*{PARTIAL}") if path.is_file()]:
        left.unlink(missing_ok=True)


def free_bytes(path: Path) -> int:
    """Room on the file system of the nearest folder that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def in_words(size: float) -> str:
    """Bytes for a person to read."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
