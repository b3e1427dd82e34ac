"""Where values come from: which arguments and whose random numbers entered what, off the tape.

Sources are bits of an integer kept per storage, so that a write in place marks all that shares the
memory. Arguments come first, in the order of the distinct tensors among them, then random sites.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pyro_posterior.keyed.keys import FREE
from pyro_posterior.sliced.tape import Op, Record

#: Operations that take only shape and type of their tensor.
SHAPE_ONLY = {
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("randint_like", "new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
}


@dataclass(frozen=True)
class Flow:
    """The sources of every value of one recorded run."""

    arguments: int  # distinct tensors among the arguments
    random: tuple[str, ...]  # sites that drew random numbers, `FREE` for those outside sites
    bits: dict[str, int]  # sources by site of the model
    _reads: tuple[tuple[Op, int], ...] = field(repr=False)
    _known: dict[str, int] = field(repr=False)  # sources that Python knew when a site was made

    def arguments_of(self, site: str) -> frozenset[int]:
        """Numbers of the argument tensors whose values entered a site."""
        bits = self.bits.get(site, 0)
        return frozenset(i for i in range(self.arguments) if bits >> i & 1)

    def randomness_of(self, site: str) -> frozenset[str]:
        """Sites whose random numbers entered this one, its own included."""
        return self._named(self.bits.get(site, 0))

    def known_to_python(self, site: str) -> frozenset[str]:
        """Sites whose random numbers Python had looked at when this one's value was made.

        A branch, a number or an array of those numbers leaves no other trace in the value.
        """
        return self._named(self._known.get(site, 0))

    def python_knew_arguments(self, site: str) -> bool:
        """Whether Python had looked at an argument when this site's value was made."""
        return bool(self._known.get(site, 0) & ((1 << self.arguments) - 1))

    def _named(self, bits: int) -> frozenset[str]:
        return frozenset(n for i, n in enumerate(self.random, self.arguments) if bits >> i & 1)

    @property
    def reads_draws(self) -> bool:
        """Whether Python looked at a value that depends on a site's draw."""
        return any(self._named(bits) - {FREE} for _, bits in self._reads)

    @property
    def reads_free(self) -> bool:
        """Whether Python looked at a value that depends on random numbers outside sites."""
        return any(FREE in self._named(bits) for _, bits in self._reads)

    @property
    def reads_of_data(self) -> list[Op]:
        """Operations by which Python learnt something of the arguments and of no draw."""
        given = (1 << self.arguments) - 1
        return [op for op, bits in self._reads if bits & given and not self._named(bits)]


def flow_of(record: Record) -> Flow:
    """Follow arguments and random numbers through a recorded run, to a fixpoint."""
    tape = record.tape
    random = tuple(dict.fromkeys(op.key.site for op in tape.ops if op.key is not None))
    number = {name: len(tape.inputs) + i for i, name in enumerate(random)}
    bits = {tape.storage[uid]: 0 for uid in tape.inputs}
    for i, uid in enumerate(tape.inputs):  # several may be views of one tensor
        bits[tape.storage[uid]] |= 1 << i
    own = {uid: 1 << i for i, uid in enumerate(tape.inputs)}

    def of(uid: int) -> int:
        return own[uid] if uid in own else bits.get(tape.storage[uid], 0)

    changed = True
    while changed:
        changed = False
        for op in tape.ops:
            found = 0
            for uid in op.ins if op.name not in SHAPE_ONLY else ():
                found |= of(uid)
            if op.key is not None:
                found |= 1 << number[op.key.site]
            for target in (*op.outs, *op.writes):
                if target is None:
                    continue
                home = tape.storage[target]
                if bits.get(home, 0) | found != bits.get(home, 0):
                    bits[home] = bits.get(home, 0) | found
                    changed = True
    reads, behind = [], [0]  # what Python knew before each operation, and at the end
    for op in tape.ops:
        found = 0
        if op.read is not None:
            for uid in op.ins:
                found |= of(uid)
            reads.append((op, found))
        behind.append(behind[-1] | found)
    by_site = {name: of(uid) for name, uid in record.outputs.items()}
    made = _made_at(record)
    known = {name: behind[made[name]] for name in record.outputs}
    return Flow(len(tape.inputs), random, by_site, tuple(reads), known)


def _made_at(record: Record) -> dict[str, int]:
    """Position of the last operation that gave each site its numbers; the end where none shows it."""
    tape = record.tape
    given: dict[int, int] = {}  # by tensor
    written: dict[int, int] = {}  # by storage
    for position, op in enumerate(tape.ops):
        given |= {uid: position for uid in op.outs if uid is not None}
        written |= {tape.storage[uid]: position for uid in op.writes}
    found = {}
    for name, uid in record.outputs.items():
        at = max(given.get(uid, -1), written.get(tape.storage[uid], -1))
        if at < 0:  # perhaps it was there before the run
            earlier = uid in tape.inputs or tape.leaves[uid].requires_grad
            at = 0 if earlier else len(tape.ops)
        found[name] = at
    return found
