"""Storages by address, against a look at all of them."""

from __future__ import annotations

import random

from pyro_posterior.sliced.spans import Spans


def test_finds_what_a_look_at_all_would_find():
    chance = random.Random(0)
    for _ in range(30):
        spans, held, dead = Spans(), {}, set()

        def alive(storage, dead=dead):
            return storage not in dead

        for storage in range(200):
            low = chance.randrange(500)
            high = low + chance.randrange(30)
            among = {
                number
                for number, (start, stop) in held.items()
                if alive(number) and start < high and low < stop and low < high
            }
            found = spans.find(low, high, alive)
            assert found in among if among else found is None
            if chance.random() < 0.1 or not among:  # now and then one that shares memory
                spans.add(storage, low, high, alive)
                held[storage] = (low, high) if low < high else (0, 0)
            dead.add(chance.randrange(storage + 1))
