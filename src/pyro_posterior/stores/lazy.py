"""Arrays that are read when asked: sliced as NumPy slices, reduced and combined piece by piece."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pyro_posterior.stores.reduce import reduce_blocks

#: Positions wanted along every axis, in increasing order.
Positions = Sequence[range | np.ndarray]

#: Bytes of a piece that is read at once.
BLOCK_BYTES = 32_000_000


class LazyArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Behaves as a NumPy array that is not in memory.

    An index gives a NumPy array; so does ``np.asarray``. Arithmetic and other elementwise functions
    of NumPy give another lazy array; reductions (``mean``, ``std``, ``var``, ``sum``, ``min``,
    ``max``, ``any``, ``all``) read one piece after the other.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]
    ) -> None:
        self.shape, self.dtype, self.chunks = shape, dtype, chunks

    def take(self, positions: Positions) -> np.ndarray:
        """The values at some positions along each axis, as many axes as the array has."""
        raise NotImplementedError

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in memory once read."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self[...])

    def __float__(self) -> float:
        return float(self[...])

    def __int__(self) -> int:
        return int(self[...])

    def item(self) -> Any:
        """The one value of an array of one value."""
        return self[...].item()

    def __iter__(self) -> Iterator[np.ndarray]:
        for first in range(0, len(self), self.chunks[0]):
            yield from self[first : first + self.chunks[0]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array on disk cannot be read without making a copy")
        return np.asarray(self[...], dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        """As NumPy would; only the chunks that hold the values are read."""
        items = _whole_index(index, self.ndim)
        positions: list[range | np.ndarray] = []
        rest: list[Any] = []
        axis = 0
        for item in items:
            if item is None:
                rest.append(None)
                continue
            if isinstance(item, np.ndarray) and item.dtype == bool:
                for where in _of_mask(item, self.shape[axis : axis + item.ndim], axis):
                    taken, left = _along(where, self.shape[axis], axis)
                    positions.append(taken)
                    rest.append(left)
                    axis += 1
                continue
            taken, left = _along(item, self.shape[axis], axis)
            positions.append(taken)
            rest.append(left)
            axis += 1
        return self.take(positions)[tuple(rest)]

    def astype(self, dtype: Any) -> LazyArray:
        """The same values as another kind of numbers, converted when they are read."""
        wanted = np.dtype(dtype)
        return Mapped(lambda values: values.astype(wanted), (self,), wanted)

    def blocks(self) -> Iterator[tuple[slice, ...]]:
        """Indices of pieces that together are the array, none much larger than `BLOCK_BYTES`."""
        lengths = list(self.chunks)
        for axis in reversed(range(self.ndim)):  # as long as it fits, whole chunks
            while lengths[axis] < self.shape[axis] and (
                math.prod(lengths) * self.dtype.itemsize * 2 <= BLOCK_BYTES
            ):
                lengths[axis] *= 2
        starts = [range(0, n, length) for n, length in zip(self.shape, lengths, strict=True)]
        for start in itertools.product(*starts):
            yield tuple(
                slice(low, min(low + length, n))
                for low, length, n in zip(start, lengths, self.shape, strict=True)
            )

    # --------------------------------------------------------------------- elementwise and reductions

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        known = (LazyArray, np.ndarray, np.generic, numbers.Number, bool)
        if not all(isinstance(value, known) for value in inputs):
            return NotImplemented
        if method == "__call__" and not kwargs and ufunc.nout == 1 and ufunc.signature is None:
            return Mapped(ufunc, inputs)
        plain = [np.asarray(value) if isinstance(value, LazyArray) else value for value in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.mean``, added up in double precision."""
        return reduce_blocks(self, "mean", axis, dtype, out, **kwargs)

    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.std``, added up in double precision."""
        return reduce_blocks(self, "std", axis, dtype, out, **kwargs)

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.var``, added up in double precision."""
        return reduce_blocks(self, "var", axis, dtype, out, **kwargs)

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.sum``, added up in double precision."""
        return reduce_blocks(self, "sum", axis, dtype, out, **kwargs)

    def min(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.min``."""
        return reduce_blocks(self, "min", axis, None, out, **kwargs)

    def max(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.max``."""
        return reduce_blocks(self, "max", axis, None, out, **kwargs)

    def any(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.any``."""
        return reduce_blocks(self, "any", axis, None, out, **kwargs)

    def all(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        """As ``np.all``."""
        return reduce_blocks(self, "all", axis, None, out, **kwargs)


class Mapped(LazyArray):
    """An elementwise function of arrays, evaluated where it is read."""

    def __init__(self, function: Any, inputs: Sequence[Any], dtype: Any = None) -> None:
        arrays = [value for value in inputs if isinstance(value, LazyArray | np.ndarray)]
        shape = np.broadcast_shapes(*(value.shape for value in arrays))
        lead = max((value for value in arrays if isinstance(value, LazyArray)), key=_spread)
        chunks = (1,) * (len(shape) - lead.ndim) + lead.chunks
        if dtype is None:
            samples = [
                np.empty((0,) if value.shape else (), value.dtype)
                if isinstance(value, LazyArray | np.ndarray)
                else value
                for value in inputs
            ]
            with np.errstate(all="ignore"):
                dtype = function(*samples).dtype
        super().__init__(shape, np.dtype(dtype), chunks)
        self._function, self._inputs = function, tuple(inputs)

    def take(self, positions: Positions) -> np.ndarray:
        values = [
            _taken(value, positions) if isinstance(value, LazyArray | np.ndarray) else value
            for value in self._inputs
        ]
        return np.asarray(self._function(*values))

    def __repr__(self) -> str:
        return f"<lazy array {self.shape} {self.dtype}>"


def _spread(array: LazyArray) -> tuple[int, int]:
    return array.ndim, array.size


def _taken(value: LazyArray | np.ndarray, positions: Positions) -> np.ndarray:
    """The values of an input at the positions of what it is broadcast to."""
    own = positions[len(positions) - value.ndim :]
    wanted = [
        range(min(1, len(along))) if length == 1 else along
        for along, length in zip(own, value.shape, strict=True)
    ]
    if isinstance(value, LazyArray):
        return value.take(wanted)
    for axis, along in enumerate(wanted):
        if isinstance(along, range):
            at = slice(along.start, along.stop, along.step)
            value = value[(slice(None),) * axis + (at,)]
        else:
            value = np.take(value, along, axis)
    return value


# ------------------------------------------------------------------------------------------- indices


def _whole_index(index: Any, ndim: int) -> list[Any]:
    """An index with one item for every axis (and None for new ones), lists as arrays."""
    items = list(index) if isinstance(index, tuple) else [index]
    items = [
        np.asarray(item) if isinstance(item, list | np.ndarray | LazyArray) else item
        for item in items
    ]
    used = sum(
        item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1
        for item in items
        if item is not None and item is not Ellipsis
    )
    if used > ndim:
        raise IndexError(f"too many indices: the array has {ndim} axes, but {used} were indexed")
    dots = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    fill = [slice(None)] * (ndim - used)
    place = dots[0] if dots else len(items)
    return [*items[:place], *fill, *items[place + 1 :]]


def _along(item: Any, length: int, axis: int) -> tuple[range | np.ndarray, Any]:
    """Positions that an index takes along one axis, increasing, and the index to take of these."""
    if isinstance(item, slice):
        taken = range(*item.indices(length))
        if taken.step < 0:
            return taken[::-1], slice(None, None, -1)
        return taken, slice(None)
    if isinstance(item, np.ndarray) and item.ndim:
        if item.size and item.dtype.kind not in "iu":
            raise IndexError(f"arrays used as indices must be of integers, found {item.dtype}")
        whole = item.astype(np.intp)
        if whole.size and (whole.max() >= length or whole.min() < -length):
            raise IndexError(f"an index is out of bounds for axis {axis} with size {length}")
        values, inverse = np.unique(np.where(whole < 0, whole + length, whole), return_inverse=True)
        return values, inverse.reshape(whole.shape)
    try:
        place = item.__index__() if not isinstance(item, np.ndarray) else int(item[()].__index__())
    except (AttributeError, TypeError):
        raise IndexError(
            f"only whole numbers, slices, '...', None and arrays are valid indices, found {item!r}"
        ) from None
    if not -length <= place < length:
        raise IndexError(f"index {place} is out of bounds for axis {axis} with size {length}")
    place %= length
    return range(place, place + 1), 0


def _of_mask(mask: np.ndarray, shape: tuple[int, ...], axis: int) -> tuple[np.ndarray, ...]:
    if mask.shape != shape:
        raise IndexError(f"a mask of shape {mask.shape} does not fit {shape} from axis {axis} on")
    return mask.nonzero()
