"""The mark of a complete segment, written last: what it holds, with a digest of every chunk.

``segments/<number>.json``, and beside it ``segments/<number>.bin`` with the partial results of
reductions, where there are any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyro_posterior.errors import StoreError
from pyro_posterior.stores.checks import check, names, numbers, text, whole
from pyro_posterior.stores.files import damaged, read_inside, write_inside
from pyro_posterior.stores.form import KINDS
from pyro_posterior.stores.header import Header
from pyro_posterior.stores.sealed import canonical, digest_of, sealed, unsealed

FOLDER = "segments"

#: By result and site: the digest of the array's metadata file, then of each chunk of the segment.
Digests = Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Mark:
    """What one complete segment holds."""

    number: int
    owner: str
    data: str  # digest of the data it was drawn from
    arrays: Digests
    nonfinite: Mapping[str, int]
    tiers: tuple[str, ...]
    versions: Mapping[str, str]
    partials: Mapping[str, Any] = field(default_factory=dict)  # where they are in the other file


def mark_file(number: int) -> tuple[str, str]:
    """Name of a segment's mark in the store."""
    return FOLDER, f"{number}.json"


def write_mark(root: Path, mark: Mark) -> None:
    """Say that a segment is complete."""
    content = {
        "segment": mark.number,
        "owner": mark.owner,
        "data": mark.data,
        "arrays": {
            result: {site: list(digests) for site, digests in arrays.items()}
            for result, arrays in mark.arrays.items()
        },
        "nonfinite": dict(mark.nonfinite),
        "tiers": list(mark.tiers),
        "versions": dict(mark.versions),
        "partials": dict(mark.partials),
    }
    write_inside(root, canonical(sealed(content)), *mark_file(mark.number))


def find_mark(root: Path, header: Header, number: int) -> Mark | None:
    """The mark of a segment of this run; None where it is not complete, or the mark is damaged."""
    if not root.joinpath(*mark_file(number)).is_file():
        return None
    try:
        mark = read_mark(root, header, number)
    except StoreError:
        return None
    return mark if mark.owner == header.owner else None


def read_mark(root: Path, header: Header, number: int, content: bytes | None = None) -> Mark:
    """The mark of a segment.

    Raises
    ------
    StoreError
        It is missing or damaged.
    """
    where = mark_file(number)
    content = read_inside(root, *where) if content is None else content
    sites = {site.name for site in header.plan.sites}
    try:
        held = unsealed(content)
        check(whole(held["segment"]) == number, "the segment")
        arrays = {
            text(result): {text(site): names(digests) for site, digests in found.items()}
            for result, found in held["arrays"].items()
        }
        nonfinite = {text(name): whole(count) for name, count in held["nonfinite"].items()}
        check(sites.issuperset(nonfinite), "nonfinite")
        return Mark(
            number=number,
            owner=text(held["owner"]),
            data=text(held["data"]),
            arrays=arrays,
            nonfinite=nonfinite,
            tiers=names(held["tiers"]),
            versions={text(name): text(of) for name, of in held["versions"].items()},
            partials=dict(held["partials"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(root, f"the mark {'/'.join(where)!r} does not hold ({error})") from error


def write_partials(
    root: Path, number: int, partials: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """Write the partial results of a segment; what its mark says of them."""
    if not partials:
        return {}
    content = bytearray()
    table: dict[str, dict[str, Any]] = {}
    for reduction, arrays in partials.items():
        table[reduction] = {}
        for name, values in arrays.items():
            array = np.asarray(values)
            if array.dtype.name not in KINDS:
                raise StoreError(
                    f"the partial result {name!r} of {reduction!r} has values of dtype "
                    f"{array.dtype}, which a store cannot hold"
                )
            table[reduction][name] = [array.dtype.name, list(array.shape), len(content)]
            content += np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    write_inside(root, bytes(content), FOLDER, f"{number}.bin")
    return {"arrays": table, "file": digest_of(content)}


def read_partials(root: Path, mark: Mark, reduction: str) -> dict[str, np.ndarray] | None:
    """The partial results of one reduction in a segment; None where there are none.

    Raises
    ------
    StoreError
        They are missing or damaged.
    """
    try:
        wanted = mark.partials["arrays"].get(reduction) if mark.partials else None
        if wanted is None:
            return None
        content = read_inside(root, FOLDER, f"{mark.number}.bin")
        check(digest_of(content) == mark.partials["file"], "the file")
        found = {}
        for name, (kind, shape, start) in wanted.items():
            check(kind in KINDS, "a dtype")
            dtype, shape = np.dtype(kind), numbers(shape)
            stop = whole(start) + math.prod(shape) * dtype.itemsize
            check(stop <= len(content), "a shape")
            values = np.frombuffer(content[start:stop], dtype.newbyteorder("<")).reshape(shape)
            found[text(name)] = values.astype(dtype)
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(root, f"partial results of segment {mark.number}: {error}") from error
