"""Keyed randomness: a table from random operation to the rule that draws it, from keys alone.

``keys`` names random numbers, ``hashing`` makes bits of names, ``strata`` spreads them evenly over the
draws, ``uniforms`` and ``fills`` make numbers of them, ``rules`` is the table, ``modes`` puts it to use.
"""
