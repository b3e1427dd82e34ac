"""Which sites are drawn together: those that share random numbers.

The others can be drawn one group after the other, in any order, since keys make the numbers. Each
group then costs what its own sites need, and memory holds the draws of one group at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from pyro_posterior.keyed.keys import Key
from pyro_posterior.sliced.slicing import Slice

#: Groups whose draws take fewer bytes are drawn with their neighbours, since a group has its costs.
SMALL_BYTES = 64_000_000


def drawn_together(
    cut: Slice, scopes: Iterable[Iterable[str]], num_samples: int
) -> list[tuple[str, ...]]:
    """Groups of sites, those of one scope in one group only where they share random numbers.

    Parameters
    ----------
    cut
        A slice that has all the sites.
    scopes
        Names of the sites that may be grouped with one another (local ones, global ones).
    num_samples
        Number of draws of the run, which tells how large a group is.
    """
    keys = _keys(cut)
    size = {name: cut.tape.nbytes[uid] * num_samples for name, uid in cut.outputs.items()}
    groups = []
    for names in scopes:
        small: tuple[str, ...] = ()
        for group in _connected(tuple(names), keys):
            if sum(size[name] for name in group) >= SMALL_BYTES:
                groups.append(group)
                continue
            small += group
            if sum(size[name] for name in small) >= SMALL_BYTES:
                groups.append(small)
                small = ()
        if small:
            groups.append(small)
    return groups


def _keys(cut: Slice) -> dict[str, frozenset[Key]]:
    """The random operations behind each site."""
    storage = cut.tape.storage
    found: dict[int, frozenset[Key]] = {}
    for op in cut.ops:
        behind = frozenset({op.key} if op.key else ())
        behind = behind.union(*(found.get(storage[uid], frozenset()) for uid in op.ins))
        for uid in (*op.outs, *op.writes):
            if uid is not None:
                found[storage[uid]] = found.get(storage[uid], frozenset()) | behind
    return {name: found.get(storage[uid], frozenset()) for name, uid in cut.outputs.items()}


def _connected(names: tuple[str, ...], keys: dict[str, frozenset[Key]]) -> list[tuple[str, ...]]:
    """The names in groups without a common key, groups in the order of their first names."""
    groups: list[tuple[set[str], set[Key]]] = []
    for name in names:
        members, shared = {name}, set(keys[name])
        apart = []
        for group in groups:
            if group[1] & shared:
                members |= group[0]
                shared |= group[1]
            else:
                apart.append(group)
        groups = [*apart, (members, shared)]
    ordered = [tuple(name for name in names if name in members) for members, _ in groups]
    return sorted(ordered, key=lambda group: names.index(group[0]))
