"""Every sampler that gives rows in random order is refused, at any depth; the others are not."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from pyro_posterior import PyroSampleMixin
from pyro_posterior.data.samplers import row_numbers
from pyro_posterior.errors import PosteriorWarning, RequestError
from toy_models import ConjugateNormal, sample

TOY = ConjugateNormal(10)
ROWS = TensorDataset(*TOY.data)


class Shuffled(Sampler):
    """A sampler of the user's own, in another order on every pass."""

    def __iter__(self):
        return iter(torch.randperm(len(ROWS)).tolist())

    def __len__(self):
        return len(ROWS)


class Backwards(Sampler):
    """A sampler of the user's own, always in the same order."""

    def __iter__(self):
        return iter(range(len(ROWS) - 1, -1, -1))

    def __len__(self):
        return len(ROWS)


RANDOM = {
    "RandomSampler": RandomSampler(ROWS),
    "SubsetRandomSampler": SubsetRandomSampler(range(10)),
    "WeightedRandomSampler": WeightedRandomSampler([1.0] * 10, 10),
    "DistributedSampler": DistributedSampler(ROWS, 1, 0, shuffle=True),
    "Shuffled": Shuffled(),
}
ORDERED = {
    "SequentialSampler": SequentialSampler(ROWS),
    "DistributedSampler": DistributedSampler(ROWS, 1, 0, shuffle=False),
    "Backwards": Backwards(),
    "list": list(range(10)),
    "range": range(10),
}


def loader(sampler, how, drop_last=False):
    """The ways to give a loader a sampler."""
    if how == "sampler":
        return DataLoader(ROWS, 3, sampler=sampler, drop_last=drop_last)
    batches = BatchSampler(sampler, 3, drop_last)
    if how == "batch_sampler":
        return DataLoader(ROWS, batch_sampler=batches)
    if how == "batches of batches":
        return DataLoader(ROWS, batch_size=None, sampler=batches)
    return DataLoader(ROWS, batch_size=None, sampler=BatchSampler(RowsOf(sampler), 3, drop_last))


class RowsOf(Sampler):
    """A sampler around another."""

    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        return iter(self.inner)

    def __len__(self):
        return len(self.inner)


HOW = ["sampler", "batch_sampler", "batches of batches", "wrapped"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", RANDOM)
def test_random_ones_are_refused(name, how):
    with pytest.raises(RequestError, match=f"shuffles .{name} gives.*make one with shuffle=False"):
        sample(TOY.model, TOY.guide, loader(RANDOM[name], how), num_samples=2)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ORDERED)
def test_ordered_ones_are_taken(name, how):
    numbers = row_numbers(loader(ORDERED[name], how))
    assert [row for batch in numbers for row in batch] == list(ORDERED[name])
    posterior = sample(TOY.model, TOY.guide, loader(ORDERED[name], how), num_samples=2)
    assert posterior["post_sample_means"]["z"].shape == (10,)


def test_refused_in_the_mixin():
    class Module:
        model, guide = TOY.model, TOY.guide

        @staticmethod
        def _get_fn_args_from_batch(batch):
            return tuple(batch), {}

    class Host(PyroSampleMixin):
        module = Module()

    with pytest.raises(RequestError, match="SubsetRandomSampler"):
        Host().sample_posterior(input_dl=loader(RANDOM["SubsetRandomSampler"], "wrapped"))


@pytest.mark.parametrize("how", ["sampler", "batch_sampler", "batches of batches"])
def test_observations_left_out_are_told(how):
    with pytest.warns(PosteriorWarning, match="its last 1 observations are left out"):
        posterior = sample(
            TOY.model, TOY.guide, loader(SequentialSampler(ROWS), how, True), num_samples=2
        )
    assert posterior["post_sample_means"]["z"].shape == (9,)


def test_a_whole_last_batch_is_no_reason_for_a_word():
    row_numbers(DataLoader(ROWS, 5, drop_last=True))  # a warning would be an error


def test_of_a_stream_only_drop_last_is_known():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(zip(*TOY.data, strict=True))

    with pytest.warns(PosteriorWarning, match="drop_last=True"):
        assert row_numbers(DataLoader(Stream(), 3, drop_last=True)) is None
