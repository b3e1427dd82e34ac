"""Names of folders, and shapes of chunks, so that no chunk is written by two segments."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from urllib.parse import quote

#: Longest name of a folder; file systems allow 255 bytes.
LONGEST_NAME = 200

#: Names of results are folders, as they are; ``prob>0`` and ``prob<0`` are none on Windows.
RESULT_NAME = re.compile(
    r"(?!(segments|coords|(run|zarr)\.json)$)[a-z0-9_-][a-z0-9._<>=-]{0,178}", re.IGNORECASE
)

#: Bytes that one chunk should not exceed, before compression.
CHUNK_BYTES = 16_000_000


def chunk_shape(
    shape: tuple[int, ...], itemsize: int, axis: int | None, rows: int, draws: bool
) -> tuple[int, ...]:
    """Shape of the chunks of one array.

    Parameters
    ----------
    shape
        Of the whole array.
    axis
        Axis that segments divide: of the observations, or of a large global site's columns.
    rows
        Length of one segment along it: chunks are as long, or an even part of it.
    draws
        Whether the first axis is that of draws, which is cut first.
    """
    chunk = [max(1, length) for length in shape]
    if axis is not None:
        chunk[axis] = max(1, min(rows, shape[axis]))

    def parts() -> int:
        return math.ceil(math.prod(chunk) * itemsize / CHUNK_BYTES)

    if draws and parts() > 1:
        chunk[0] = _even(chunk[0], parts())
    if axis is not None and parts() > 1:
        alone = rows >= shape[axis]
        wanted = max(1, chunk[axis] // parts())
        chunk[axis] = wanted if alone else _divisor(rows, wanted)
    for other in range(draws, len(chunk)):
        if other != axis and parts() > 1:
            chunk[other] = _even(chunk[other], parts())
    return tuple(chunk)


def _even(length: int, parts: int) -> int:
    """Length of at least so many parts that are nearly equal: a chunk takes its full room on disk."""
    at_most = max(1, length // parts)
    return math.ceil(length / math.ceil(length / at_most))


def _divisor(number: int, at_most: int) -> int:
    """The largest divisor up to ``at_most``."""
    small = [part for part in range(1, math.isqrt(number) + 1) if number % part == 0]
    return max(part for low in small for part in (low, number // low) if part <= at_most)


def array_names(names: Iterable[str]) -> dict[str, str]:
    """Folder by name, no two of which meet where capitals are not told apart."""
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        folder = array_name(name)
        if folder.lower() in taken:
            folder = _with_digest(folder, name)
        taken.add(folder.lower())
        folders[name] = folder
    return folders


def array_name(site: str) -> str:
    """Name of a site's array: the site's own, with what Zarr does not allow percent-encoded.

    A name too long for a folder ends in a digest of the site's; the empty one becomes ``%``.
    """
    name = quote(site, safe="$ +,=@()[]{}!~'", errors="surrogatepass")
    if name.startswith("__"):
        name = "%5F" + name[1:]
    if name.startswith(".") or name == "zarr.json":
        name = name.replace(".", "%2E")
    return _with_digest(name, site) if len(name) > LONGEST_NAME else name or "%"


def _with_digest(name: str, site: str) -> str:
    digest = hashlib.blake2b(site.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    return f"{name[: LONGEST_NAME - len(digest) - 1]}%{digest}"
