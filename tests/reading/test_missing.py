"""A latent that the guide lacks, as what was summed out in the fit: nothing computed from it comes."""

from __future__ import annotations

import random

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_posterior.errors import RequestError

X = torch.arange(6.0)

#: Ways in which ``k`` enters a value: by torch alone, or by way of Python.
WAYS = {
    "torch": lambda z, k: z + 100 * k,
    "an index": lambda z, k: z + torch.tensor([0.0, 100.0])[k],
    "a branch": lambda z, k: z + 100 if k else z,
    "a number": lambda z, k: z + 100 * k.item(),
    "a list": lambda z, k: z + [0, 100][k],
    "NumPy": lambda z, k: z + torch.as_tensor(100 * k.numpy()),
    "unseen randomness": lambda z, k: z + 100 * k + 1e-9 * random.random(),
}


def _model(way):
    def model(x, index):
        k = pyro.sample("k", dist.Categorical(torch.ones(2)))
        with pyro.plate("cells", 6, subsample=index):
            z = pyro.sample("z", dist.Normal(x, 1.0))
            pyro.deterministic("twice", 2 * z)
            pyro.deterministic("moved", way(z, k))

    return model


def _guide(x, index):
    with pyro.plate("cells", 6, subsample=index):
        pyro.sample("z", dist.Normal(x, 0.1))


@pytest.mark.parametrize("size", [4, 6])
@pytest.mark.parametrize("name", WAYS)
def test_however_it_enters_a_value(draw, name, size):
    model = _model(WAYS[name])
    batches = [(X[i], i) for i in torch.arange(6).split(size)]
    for options in ({"return_sites": ["moved"]}, {"exclude_sites": ["k"]}):
        with pytest.raises(RequestError, match=r"computed from .*'k'.* exclude_sites="):
            draw(model, _guide, batches, **options)
    rest = ["z"] if name == "unseen randomness" else ["z", "twice"]  # which leaves no record
    found = draw(model, _guide, batches, return_sites=rest)["posterior_samples"]
    np.testing.assert_allclose(found["z"].mean(0), X, atol=0.1)
    if "twice" in found:
        np.testing.assert_allclose(found["twice"], 2 * found["z"], rtol=1e-6)
