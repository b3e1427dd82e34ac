"""Batches by number: any of them where rows are known, in one pass where only a pass tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset

from pyro_posterior.batches import open_batches
from pyro_posterior.data.sources import NoSuchBatch
from pyro_posterior.errors import RequestError

X = torch.arange(20.0).reshape(10, 2)
CPU = torch.device("cpu")
CUTS = [X[:4], X[4:8], X[8:]]


class Counted:
    """A re-iterable that counts what it gave."""

    def __init__(self):
        self.passes, self.given = 0, 0

    def __iter__(self):
        self.passes += 1
        for batch in CUTS:
            self.given += 1
            yield batch


class Read(Dataset):
    """Rows that are counted when read, one by one or, as newer datasets do, many at once."""

    def __init__(self, at_once: bool) -> None:
        self.reads: list[int] = []
        if at_once:
            self.__getitems__ = lambda rows: [self[row] for row in rows]

    def __getitem__(self, row):
        self.reads.append(row)
        return X[row]

    def __len__(self):
        return len(X)


SOURCES = {
    "tensor": lambda: (X, 4),
    "tuple": lambda: ((X,), 4),
    "dict": lambda: ({"x": X}, 4),
    "array": lambda: (X.numpy(), 4),
    "list": lambda: (CUTS, None),
    "re-iterable": lambda: (Counted(), None),
    "loader": lambda: (DataLoader(Read(False), 4), None),
    "loader of many at once": lambda: (DataLoader(Read(True), 4), None),
    "loader with workers": lambda: (DataLoader(TensorDataset(X), 4, num_workers=1), None),
    "batches of batches": lambda: (
        DataLoader(
            TensorDataset(X), batch_size=None, sampler=BatchSampler(SequentialSampler(X), 4, False)
        ),
        None,
    ),
}


def opened(name):
    data, batch_size = SOURCES[name]()
    return open_batches(data, batch_size, None, CPU)


def only(minibatch):
    (value,) = (*minibatch.args, *minibatch.kwargs.values())
    return value


@pytest.mark.parametrize("name", SOURCES)
def test_by_number_in_any_order(name):
    batches = opened(name)
    for index in (0, 1, 2, 2, 0, 2, 1, 0):
        minibatch = batches.get(index)
        assert minibatch.index == index
        assert torch.equal(only(minibatch), CUTS[index])
    for index in (3, 7):
        with pytest.raises(NoSuchBatch):
            batches.get(index)
    assert [len(only(x)) for x in batches] == [4, 4, 2]
    assert torch.equal(only(batches.get(1)), CUTS[1])


@pytest.mark.parametrize("name", SOURCES)
def test_digests_are_those_of_the_rows(name):
    batches, full = opened(name), opened("tensor")
    if name == "dict":
        assert batches.digest(1) != full.digest(1)  # the argument's name counts
        return
    assert [batches.digest(i) for i in range(3)] == [full.digest(i) for i in range(3)]


def test_what_is_known_without_reading():
    known = {name: (opened(name).count, opened(name).rows) for name in SOURCES}
    assert known.pop("re-iterable") == (None, None)
    assert known.pop("list") == (3, None)
    assert set(known.values()) == {(3, (4, 4, 2))}


def test_what_cannot_change():
    fixed = {name for name in SOURCES if opened(name).fixed}
    plain = {"tensor", "tuple", "dict", "array", "list"}
    assert fixed == plain | {"loader with workers", "batches of batches"}


def test_increasing_numbers_are_one_pass():
    data = Counted()
    batches = open_batches(data, None, None, CPU)
    batches.get(0)
    batches.get(2)
    assert (data.passes, data.given) == (1, 3)
    batches.get(2)
    assert data.passes == 1
    batches.get(1)
    assert (data.passes, data.given) == (2, 5)


def test_only_the_rows_asked_for_are_read():
    rows = Read(False)
    open_batches(DataLoader(rows, 4), None, None, CPU).get(2)
    assert rows.reads == [8, 9]


def test_rows_that_change_between_readings_are_told():
    class Augmented(Read):
        def __getitem__(self, row):
            return super().__getitem__(row) + len(self.reads)

    batches = open_batches(DataLoader(Augmented(False), 4), None, None, CPU)
    batches.get(0)
    batches.get(1)
    with pytest.raises(RequestError, match="minibatch 0 is not what it was on an earlier pass"):
        batches.get(0)


def test_a_batch_is_turned_into_arguments_once_while_it_is_in_use():
    calls = []

    def to_args(batch):
        calls.append(len(batch))
        return (batch,), {}

    batches = open_batches(Counted(), None, to_args, CPU)
    assert batches.get(1) is batches.get(1)
    assert calls == [4]
    np.testing.assert_array_equal(only(batches.get(1)), CUTS[1])
