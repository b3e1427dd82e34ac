"""What a store consists of: which files are its own, which a stranger's, and how the own are removed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyro_posterior.errors import StoreError
from pyro_posterior.files import PARTIAL
from pyro_posterior.stores.files import explained
from pyro_posterior.stores.header import METADATA, Header

#: Group of the labels as they were given.
COORDS = "coords"

#: The record of the finished run, with digests of all files that no mark covers.
RUN = "run.json"

_CHUNK = re.compile(r"c(/\d+)*")
_OWN = re.compile(rf"segments/(\d+\.(json|bin)|locks/\d+)|{re.escape(RUN)}|{re.escape(METADATA)}")
_OWN_FOLDERS = re.compile(r"segments(/locks)?")


def is_part(header: Header, name: str) -> bool:
    """Whether a file or folder, named from the root on, can belong to the store of this header."""
    if _OWN.fullmatch(name) or _OWN_FOLDERS.fullmatch(name):
        return True
    group, _, rest = name.partition("/")
    array, _, inside = rest.partition("/")
    if group not in (*header.plan.result_names, COORDS):
        return False
    if rest in ("", METADATA):
        return True
    if group != COORDS and array not in header.array_folders:
        return False
    return array not in (".", "..") and (inside in ("", METADATA) or bool(_CHUNK.fullmatch(inside)))


def strangers(root: Path, header: Header | None) -> list[str]:
    """Files and folders that are no part of the store; without a header all but locks are."""
    known: dict[str, bool] = {}

    def part(name: str) -> bool:
        if header is None:
            return bool(_OWN_FOLDERS.fullmatch(name)) or name.startswith("segments/locks/")
        folder, _, last = name.rpartition("/")
        key = folder if last.isdigit() and not folder.startswith("segments") else name
        if key not in known:
            known[key] = is_part(header, key)
        return known[key]

    found = []
    for name, entry in _walk(root):
        if entry.is_symlink() or not (is_leftover(entry.name) or part(name)):
            found.append(name)
    return sorted(found)


def holds_run(path: Path) -> bool:
    """Whether a folder has a store in it; not if it is empty, or all of it is to be made yet.

    Raises
    ------
    StoreError
        It is a file, or holds something else.
    """
    if path.exists() and not path.is_dir():
        raise StoreError(f"store={str(path)!r} is a file; a store is a folder")
    if not path.is_dir():
        return False
    if (path / METADATA).is_file():
        return True
    with explained(path, "look into"):
        if found := strangers(path, None):
            raise StoreError(
                f"{str(path)!r} is not a store of pyro-posterior: it holds {few(found)} and no "
                f"metadata file {METADATA}. Give another path"
            )
    return False


def few(found: Sequence[str]) -> str:
    """Some names, and how many more."""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more


def is_leftover(name: str) -> bool:
    """Whether a killed process left this file half written."""
    return name.startswith(".") and name.endswith(PARTIAL)


def remove_leftovers(root: Path) -> None:
    """Remove what killed processes left half written; only while nobody else writes."""
    for _, entry in list(_walk(root)):
        if is_leftover(entry.name) and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)


def remove_parts(root: Path) -> None:
    """Remove all that a store consists of, but its header and locks; first what says it is complete."""
    (root / RUN).unlink(missing_ok=True)
    for mark in (root / "segments").glob("*.json"):
        mark.unlink()
    folders = []
    for name, entry in list(_walk(root)):
        if name == METADATA or name == "segments" or name.startswith("segments/locks"):
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)
    for folder in reversed(folders):  # the inner ones first
        os.rmdir(folder)


def size_of(root: Path) -> int:
    """Bytes of all files."""
    return sum(
        entry.stat(follow_symlinks=False).st_size
        for _, entry in _walk(root)
        if entry.is_file(follow_symlinks=False)
    )


def _walk(root: Path, within: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder by name from the root on, folders before what they hold."""
    with os.scandir(root) as entries:
        for entry in entries:
            name = f"{within}{entry.name}"
            yield name, entry
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{name}/")
