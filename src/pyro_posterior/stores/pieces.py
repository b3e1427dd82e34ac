"""Writing what a segment holds: metadata and chunks of all its arrays, several files at a time."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import numpy as np

from pyro_posterior.contracts import Results, Site
from pyro_posterior.errors import StoreError
from pyro_posterior.stores.arrays import Arrays
from pyro_posterior.stores.files import read_inside, write_inside
from pyro_posterior.stores.form import Form
from pyro_posterior.stores.header import METADATA, Header
from pyro_posterior.stores.sealed import digest_of

T = TypeVar("T")

#: Files that are made and written at the same time: most of that is waiting for the disk.
_WRITERS = 4

#: Most of these that a thread is handed at once.
_ROW = 64


class Pieces:
    """The arrays of one store, into which segments are written, every file flushed to the disk."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path, self._header = path, header
        self._arrays = Arrays(header)
        self._sites = {site.name: site for site in header.plan.sites}
        self._forms: dict[tuple[str, str], tuple[Form, str]] = {}
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="pyro_posterior-chunks")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def write(self, number: int, results: Results) -> dict[str, dict[str, tuple[str, ...]]]:
        """Write the pieces of a segment, files of all arrays side by side; digests of all files."""
        places = [(result, name) for result, arrays in results.items() for name in arrays]
        pieces = [np.asarray(results[result][name]) for result, name in places]
        sites = [self._sites[name] for _, name in places]
        forms = self._all(
            functools.partial(self._form, result, site, piece)
            for (result, _), site, piece in zip(places, sites, pieces, strict=True)
        )
        chunks = self._all(
            functools.partial(self._write_chunk, number, place, form, piece, position)
            for place, site, piece, (form, _) in zip(places, sites, pieces, forms, strict=True)
            for position in form.positions(
                self._arrays.axis(site, piece.ndim), self._span(number, site)
            )
        )
        found: dict[str, dict[str, tuple[str, ...]]] = {result: {} for result in results}
        for (result, name), (_, digest) in zip(places, forms, strict=True):
            found[result][name] = (digest,)
        for (result, name), digest in chunks:
            found[result][name] += (digest,)
        return found

    def _all(self, calls: Iterable[Callable[[], T]]) -> list[T]:
        """What the calls give, several of which are made at the same time.

        Files are small where there are many: each thread is handed a row of them.
        """
        calls = list(calls)
        each = max(1, min(_ROW, len(calls) // (2 * _WRITERS)))
        rows = [calls[first : first + each] for first in range(0, len(calls), each)]
        running = [self._pool.submit(lambda row: [call() for call in row], row) for row in rows]
        try:
            return [found for one in running for found in one.result()]
        finally:
            for one in running:
                one.cancel()
            wait(running)

    def _write_chunk(
        self,
        number: int,
        place: tuple[str, str],
        form: Form,
        piece: np.ndarray,
        position: tuple[int, ...],
    ) -> tuple[tuple[str, str], str]:
        """Write the chunk of a result of a site at a position in the grid; its place and digest."""
        result, name = place
        site = self._sites[name]
        axis, (start, _) = self._arrays.axis(site, piece.ndim), self._span(number, site)
        at = []
        for along, (index, length) in enumerate(zip(position, form.chunks, strict=True)):
            low = index * length - (start if along == axis else 0)
            at.append(slice(low, low + length))
        content = form.encode(piece[tuple(at)])
        folder = self._arrays.folders[name]
        write_inside(self._path, content, result, folder, "c", *map(str, position))
        return place, digest_of(content)

    def _form(self, result: str, site: Site, piece: np.ndarray) -> tuple[Form, str]:
        """The form of the array that ``piece`` is a part of, made when its first piece comes."""
        wanted = self._arrays.form(result, site, piece.shape, piece.dtype)
        key = (result, site.name)
        if key not in self._forms:
            place = (result, self._arrays.folders[site.name], METADATA)
            content = wanted.metadata
            if os.path.isfile(os.path.join(self._path, *place)):
                content = read_inside(self._path, *place)
            else:
                write_inside(self._path, content, *place)
            same = content == wanted.metadata
            form = wanted if same else self._arrays.stored_form(self._path, result, site, content)
            self._forms[key] = form, digest_of(content)
        form, digest = self._forms[key]
        if form.metadata != wanted.metadata:
            raise StoreError(
                f"{result} of site {site.name!r} has dtype {piece.dtype} and shape {piece.shape}, "
                f"but {form.dtype} and {form.shape} in the whole store {str(self._path)!r}: its "
                "summary functions are others, or give other numbers for other minibatches. Give "
                "another path, or start anew with overwrite=True"
            )
        return form, digest

    def _span(self, number: int, site: Site) -> tuple[int, int]:
        """What a segment has along the axis of a site that segments divide."""
        span = self._header.span(number, site)
        assert span is not None, f"segment {number} has nothing of site {site.name!r}"
        return span
