"""Random operations are named by the site they are in, and those that draw nothing are left alone."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

from pyro_posterior.keyed.keys import Where
from pyro_posterior.keyed.modes import KeyedDraws, KeyNamer


def test_sites_are_named_by_pyro():
    seen = []

    class Namer(KeyNamer):
        def next_key(self):
            seen.append(super().next_key())
            return seen[-1]

    def model():
        torch.randn(1)
        pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("p", 3):
            pyro.sample("b", dist.StudentT(3.0))
        torch.randn(1)

    namer = Namer(lambda msg: msg["name"] == "b")
    with namer, KeyedDraws(namer, Where(0, range(1), 0)):
        model()
    assert [(key.site, key.count, key.local) for key in seen] == [
        ("<free>", 0, True),
        ("a", 0, False),
        ("b", 0, True),
        ("b", 1, True),
        ("<free>", 1, True),
    ]
