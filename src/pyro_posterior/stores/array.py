"""An array of a finished store, read chunk by chunk when it is asked for, every chunk by its digest."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pyro_posterior.errors import StoreError
from pyro_posterior.stores.files import damaged, read_inside
from pyro_posterior.stores.form import Form
from pyro_posterior.stores.header import METADATA, read_header
from pyro_posterior.stores.lazy import LazyArray, Positions
from pyro_posterior.stores.sealed import digest_of

Position = tuple[int, ...]


class Owned:
    """The run that a store belongs to: `check` finds out whether it still does."""

    def __init__(self, root: Path, owner: str) -> None:
        self._root, self._owner = root, owner
        self._seen: tuple[int, ...] = ()

    def check(self) -> None:
        """Nothing where the store is the same run's; looks into its header where that was touched.

        Raises
        ------
        StoreError
            The store is gone, or holds another run.
        """
        try:
            status = os.stat(self._root / METADATA)
            now: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            now = ()
        if now and now == self._seen:
            return
        header = read_header(self._root)
        if header.owner != self._owner:
            raise StoreError(
                f"the store {str(self._root)!r} was taken over by another run (seed "
                f"{header.plan.seed}, {header.plan.num_samples} draws); nothing of it is mixed with "
                "this one. Give every run a folder of its own"
            )
        self._seen = now


class StoredArray(LazyArray):
    """An array on disk. ``np.asarray(array)`` reads it all, ``array[:, :100]`` a part of it.

    Raises
    ------
    StoreError
        On reading: a chunk is missing or damaged, or the store now holds another run.
    """

    def __init__(
        self, root: Path, place: tuple[str, str], form: Form, digests: Mapping[Position, str]
    ) -> None:
        super().__init__(form.shape, form.dtype, form.chunks)
        self._root, self._place = root, place
        self._form, self._digests = form, digests
        self._owned: Owned | None = None

    @property
    def path(self) -> Path:
        """Folder of the array."""
        return self._root.joinpath(*self._place)

    def owned(self, owned: Owned) -> StoredArray:
        """The array, which looks before every reading whether the store is still the same run's."""
        self._owned = owned
        return self

    def check_chunks(self) -> None:
        """Whether all chunks are there.

        Raises
        ------
        StoreError
            One is missing.
        """
        base = os.path.join(self._root, *self._place, "c")
        for position in self._digests:
            file = os.path.join(base, *map(str, position))
            if not os.path.isfile(file):
                raise damaged(self._root, f"the chunk {file!r} is missing")

    def take(self, positions: Positions) -> np.ndarray:
        if self._owned is not None:
            self._owned.check()
        found = np.empty([len(along) for along in positions], self.dtype)
        pieces = [
            _by_chunk(along, length) for along, length in zip(positions, self.chunks, strict=True)
        ]
        for combination in itertools.product(*pieces):
            chunk = self._chunk(tuple(index for index, _, _ in combination))
            target = _at([into for _, into, _ in combination])
            found[target] = chunk[_at([of for _, _, of in combination])]
        return found

    def _chunk(self, position: Position) -> np.ndarray:
        place = (*self._place, "c", *map(str, position))
        content = read_inside(self._root, *place)
        where = str(self._root.joinpath(*place))
        if digest_of(content) != self._digests[position]:
            raise damaged(self._root, f"the chunk {where!r} is not the one that was written")
        try:
            return self._form.decode(content)
        except (ValueError, RuntimeError) as error:
            raise damaged(self._root, f"the chunk {where!r} does not hold ({error})") from error

    def __repr__(self) -> str:
        return f"<StoredArray {self.shape} {self.dtype} in {self.path}>"


Index = slice | np.ndarray


def _by_chunk(along: range | np.ndarray, length: int) -> list[tuple[int, Index, Index]]:
    """Chunks that hold some positions: number, where these go in the answer, where they are in it."""
    if isinstance(along, range):
        found: list[tuple[int, Index, Index]] = []
        start = 0
        while start < len(along):
            number, first = divmod(along[start], length)
            count = min(len(along) - start, (length - first - 1) // along.step + 1)
            inside = slice(first, first + (count - 1) * along.step + 1, along.step)
            found.append((number, slice(start, start + count), inside))
            start += count
        return found
    numbers = along // length
    return [
        (int(number), into, along[into] - number * length)
        for number in np.unique(numbers)
        for into in [np.flatnonzero(numbers == number)]
    ]


def _at(indices: list[Index]) -> tuple[Index, ...]:
    """An index that takes each axis by itself."""
    if all(isinstance(index, slice) for index in indices):
        return tuple(indices)
    ndim = len(indices)
    spread: list[Index] = []
    for axis, index in enumerate(indices):
        if isinstance(index, slice):
            index = np.arange(index.start, index.stop, index.step or 1)
        spread.append(index.reshape([-1 if place == axis else 1 for place in range(ndim)]))
    return tuple(spread)
