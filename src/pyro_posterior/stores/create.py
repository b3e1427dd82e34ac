"""Beginning a store, or going on with the one that is there."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_posterior.contracts import RunPlan, Segment
from pyro_posterior.errors import RequestError, StoreError
from pyro_posterior.files import PARTIAL
from pyro_posterior.segments import site_bytes
from pyro_posterior.stores import locks
from pyro_posterior.stores.differences import differences, other_versions
from pyro_posterior.stores.files import (
    as_folder,
    check_room,
    explained,
    folder_inside,
    in_words,
    write_inside,
)
from pyro_posterior.stores.form import need_zarr
from pyro_posterior.stores.header import KEY, METADATA, Header, group_json, make_header, read_header
from pyro_posterior.stores.labels import write_labels
from pyro_posterior.stores.layout import RESULT_NAME
from pyro_posterior.stores.parts import (
    few,
    holds_run,
    remove_leftovers,
    remove_parts,
    size_of,
    strangers,
)
from pyro_posterior.stores.write import ZarrStore
from pyro_posterior.versions import versions

logger = logging.getLogger(__name__)


def open_zarr_store(
    path: str | Path,
    plan: RunPlan,
    segments: Sequence[Segment],
    segment_rows: int,
    identity: Mapping[str, str],
    *,
    coords: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    drawn_with: Mapping[str, str] | None = None,
) -> ZarrStore:
    """Begin a store, or go on with the one that this run began.

    Parameters
    ----------
    path
        Folder of the store; made if it is not there.
    plan, segments, segment_rows, identity
        What fixes the numbers, digests of the data included; a store of anything else is refused.
    coords
        Labels by dimension, kept in the store.
    overwrite
        Remove the store that is there, of whatever run, and start anew. Nothing is removed before
        room and rights have been checked, and nothing but what a store consists of.
    drawn_with
        Versions of the packages that draw, by default those of this process.

    Raises
    ------
    StoreError
        The folder holds another run or something else, cannot be written, or has too little room.
    MissingPackageError
        zarr is not installed.
    """
    need_zarr("store=")
    path = as_folder(path)
    _check_names(plan)
    drawn_with = versions() if drawn_with is None else drawn_with
    header = make_header(plan, segments, segment_rows, identity, drawn_with)
    wanted = float(sum(site_bytes(plan, site) for site in plan.sites))
    if overwrite or not holds_run(path):
        with explained(path, "begin"):
            _begin(path, header, coords or {}, wanted, overwrite)
    stored = read_header(path)
    if found := differences(stored, header):
        raise StoreError(
            f"the store {str(path)!r} holds another run:\n  " + "\n  ".join(found) + "\n"
            "Give another path, or start anew with overwrite=True"
        )
    if other := other_versions(stored.versions, header.versions):
        logger.warning("the store %s was begun with other packages: %s", path, other)
    store = ZarrStore(path, stored, drawn_with)
    if missing := store.missing():
        share = wanted * len(missing) / len(stored.segments)
        logger.info("store %s: up to %s to write; %s", path, in_words(share), store.state())
        check_room(path, share)
        with explained(path, "go on with", store.state):
            _make_rest(path, stored, coords or {})
    return store


def _begin(
    path: Path, header: Header, coords: Mapping[str, Any], wanted: float, overwrite: bool
) -> None:
    """Make the header, the one file that says whose the store is, in place of what was there."""
    if not holds_run(path):
        check_room(path, wanted)
    else:  # refused before anything of the folder is touched
        _check_removable(path, wanted)
    path.mkdir(parents=True, exist_ok=True)
    with locks.whole_store(path) as alone:
        if holds_run(path):
            if not overwrite:
                return  # another process was first
            _check_removable(path, wanted)
            remove_parts(path)
        elif alone:
            remove_leftovers(path)
        write_inside(path, group_json({KEY: header.json}), METADATA)
        _make_rest(path, header, coords)


def _make_rest(path: Path, header: Header, coords: Mapping[str, Any]) -> None:
    """The groups and labels, as far as they are not there."""
    for result in header.plan.result_names:
        if not os.path.isfile(os.path.join(folder_inside(path, result), METADATA)):
            write_inside(path, group_json({}), result, METADATA)
    folder_inside(path, "segments")
    write_labels(path, header, coords)


def _check_removable(path: Path, wanted: float) -> None:
    """Refuse to remove a store for one that cannot take its place."""
    header = read_header(path)
    if found := strangers(path, header):
        raise StoreError(
            f"the store {str(path)!r} holds what is no part of it: {few(found)}. Nothing was "
            "removed: move that away, or give another path"
        )
    check_room(path, wanted, size_of(path))
    probe = path / f".{uuid.uuid4().hex}{PARTIAL}"
    probe.touch()
    probe.unlink()
    for folder, _, _ in os.walk(path):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StoreError(f"cannot remove the store {str(path)!r}: no right to write {folder!r}")


def _check_names(plan: RunPlan) -> None:
    """Names of results are folders, as they are."""
    lower = [name.lower() for name in plan.result_names]
    for name in plan.result_names:
        on_windows = sys.platform == "win32" and not set(name).isdisjoint("<>")
        if not RESULT_NAME.fullmatch(name) or on_windows:
            raise RequestError(
                f"summary_fun names the result {name!r}, which cannot be a folder of a store: use "
                "letters, digits, dots, hyphens and underscores, at most 180 (and, but for "
                "Windows, the < > = of 'prob>0')"
            )
        if lower.count(name.lower()) > 1:
            raise RequestError(
                f"summary_fun names the result {name!r} and another one that differs in capitals "
                "alone: not every file system tells their folders apart"
            )
