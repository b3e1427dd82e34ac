"""Equal arguments have equal digests; a change of any bit, type, shape or name is seen."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from pyro_posterior.contracts import Minibatch
from pyro_posterior.data.digest import digest, digest_of

X = torch.arange(12.0).reshape(3, 4)
SPARSE = torch.eye(3).to_sparse()
with warnings.catch_warnings(action="ignore"):  # torch calls its compressed layouts beta
    CSR, CSC = torch.eye(3).to_sparse_csr(), torch.eye(3).to_sparse_csc()

VALUES = {
    "tensor": X,
    "other value": X + 1e-6,
    "other shape": X.reshape(4, 3),
    "other dtype": X.double(),
    "bfloat16": X.bfloat16(),
    "int": X.int(),
    "bool": X > 3,
    "complex": X + 1j,
    "its conjugate": (X + 1j).conj(),
    "scalar": torch.tensor(1.0),
    "empty": X[:0],
    "empty of other width": X[:0, :2],
    "array": X.numpy(),
    "big-endian": X.numpy().astype(">f4"),
    "coo": SPARSE,
    "csr": CSR,
    "csc": CSC,
    "dense": torch.eye(3),
    "tuple": (X, X),
    "list": [X, X],
    "dict": {"a": X, "b": X},
    "other names": {"a": X, "c": X},
    "text": "1",
    "number": 1,
    "float": 1.0,
    "true": True,
    "none": None,
    "strings": np.array(["a", "b"], dtype=object),
    "a type": int,
}


def test_all_different():
    digests = {name: digest_of(value) for name, value in VALUES.items()}
    assert len(set(digests.values())) == len(VALUES)
    assert {len(found) for found in digests.values()} == {32}


@pytest.mark.parametrize("name", VALUES)
def test_equal_values_have_equal_digests(name):
    value = VALUES[name]
    twin = value.clone() if isinstance(value, torch.Tensor) else value
    assert digest_of(twin) == digest_of(value)


def test_layout_in_memory_does_not_matter():
    assert digest_of(X.t().contiguous().t()) == digest_of(X)
    assert digest_of(torch.stack([X, X])[1]) == digest_of(X)
    assert digest_of(np.asfortranarray(X.numpy())) == digest_of(X.numpy())
    twice = torch.sparse_coo_tensor([[0, 0], [0, 0]], [1.0, 2.0], (2, 2), check_invariants=True)
    assert digest_of(twice) == digest_of(torch.tensor([[3.0, 0], [0, 0]]).to_sparse())
    assert digest_of(X.clone().requires_grad_()) == digest_of(X)


def test_of_a_minibatch_arguments_count_and_the_number_does_not():
    one = digest(Minibatch(0, (X, 2), {"y": X}))
    assert one == digest(Minibatch(5, (X.clone(), 2), {"y": X.clone()}))
    assert one != digest(Minibatch(0, (X, 3), {"y": X}))
    assert one != digest(Minibatch(0, (X, 2), {"z": X}))


def test_the_same_in_another_process():
    code = (
        "import torch; from pyro_posterior.data.digest import digest_of;"
        "print(digest_of({'x': torch.arange(5.), 'n': [1, 'two']}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest_of({"x": torch.arange(5.0), "n": [1, "two"]})
