"""Names of random numbers: a key says which operation, a `Where` which draws of which minibatch.

What is drawn is a function of the two and of nothing else. Globals are therefore the same behind all
minibatches without being sent anywhere, and work can be cut anywhere.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

#: Name of draws made outside any ``pyro.sample`` statement.
FREE = "<free>"

#: Chunks of draws are multiples of this. Draws on a GPU that share a generator: part of the
#: definition of the numbers.
SLAB = 8


class Piece(NamedTuple):
    """Draws that lie in one hypercube, or in none."""

    rows: slice  # of the draws asked for
    first: int  # the first one's place in the hypercube, or its number where there is none
    length: int  # of the hypercube; 1 where there is none
    cube: str  # part of the key


@dataclass(frozen=True)
class Where:
    """What a random operation needs to know beside its key.

    Parameters
    ----------
    seed
        Of the run.
    draws
        Numbers of the draws to make.
    minibatch
        Number of the minibatch, which counts for local keys only.
    cubes
        Lengths of the Latin hypercubes, one behind the other from draw 0 on; draws behind them
        are independent, and so are all where there are none.
    """

    seed: int
    draws: range
    minibatch: int
    cubes: tuple[int, ...] = ()

    def pieces(self) -> Iterator[Piece]:
        """The draws asked for, cut where hypercubes end."""
        start, begin, stop = self.draws.start, 0, self.draws.stop
        for number, length in enumerate(self.cubes):
            end = begin + length
            if start < min(end, stop) and begin <= start:
                rows = slice(start - self.draws.start, min(end, stop) - self.draws.start)
                yield Piece(rows, start - begin, length, f"cube{number}")
                start = min(end, stop)
            begin = end
        if start < stop:
            rows = slice(start - self.draws.start, len(self.draws))
            yield Piece(rows, start, 1, "apart")


@dataclass(frozen=True)
class Key:
    """Which random operation of a sample this is; the same in every draw and engine."""

    site: str
    count: int  # of the operations in the site
    local: bool  # differs between minibatches

    def words(self, at: Where, purpose: str) -> tuple[int, ...]:
        """Eight signed 32-bit words, all of them a function of the whole key.

        ``purpose`` keeps the numbers apart that one operation takes for several ends.
        """
        return _words(self, at.seed, purpose, at.minibatch if self.local else -1)


@functools.lru_cache(maxsize=4096)
def _words(key: Key, seed: int, purpose: str, minibatch: int) -> tuple[int, ...]:
    place = str(minibatch) if key.local else "global"
    text = f"{seed}|{key.site}|{key.count}|{purpose}|{place}"
    digest = hashlib.blake2b(text.encode(), digest_size=32).digest()
    return tuple(int.from_bytes(digest[i : i + 4], "little", signed=True) for i in range(0, 32, 4))
