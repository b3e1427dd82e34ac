"""A record from before it was known which sites are local, as if that had been known."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

from pyro_posterior.sliced.tape import Op, Record


def locality(record: Record) -> dict[str, bool]:
    """Whether the random numbers of a site differ between minibatches, by site."""
    return {op.key.site: op.key.local for op in record.tape.ops if op.key is not None}


def rekeyed(record: Record, local: Mapping[str, bool]) -> Record:
    """The record with keys that are local where ``local`` says so; its values are left out.

    Raises
    ------
    KeyError
        It has a site that ``local`` has not.
    """

    def known(op: Op) -> Op:
        if op.key is None or op.key.local == local[op.key.site]:
            return op
        return replace(op, key=replace(op.key, local=local[op.key.site]))

    tape = copy.copy(record.tape)
    tape.ops = [known(op) for op in record.tape.ops]
    return replace(record, tape=tape, values={})
