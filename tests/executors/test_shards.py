"""Shares of a run: every segment in one of them, and the same store whoever draws what."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_posterior.contracts import Segment
from pyro_posterior.errors import RequestError
from pyro_posterior.executors.shards import resolve_shard, share, shares_in_words
from store_helpers import assert_same_bytes, run
from toy_models import ConjugateNormal, assert_same


@given(st.integers(0, 200), st.integers(1, 50))
def test_every_segment_is_in_one_share_and_shares_are_runs_of_neighbours(segments, count):
    made = [Segment(number, (number, number + 1), ()) for number in range(segments)]
    shares = [share(made, (index, count)) for index in range(count)]
    assert list(itertools.chain(*shares)) == made
    sizes = [len(part) for part in shares]
    assert max(sizes) - min(sizes) <= 1


def test_missing_segments_are_told_with_their_shares():
    assert shares_in_words([0, 3, 4, 5, 9], range(10), None) == "0, 3-5, 9"
    assert shares_in_words([0, 3, 4, 5, 9], range(10), 2) == "0, 3-4 (shard 0/2); 5, 9 (shard 1/2)"
    assert shares_in_words([], range(10), 3) == ""


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "5",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            (2, 4),
        ),
        (
            {
                "SLURM_ARRAY_TASK_ID": "8",
                "SLURM_ARRAY_TASK_MIN": "2",
                "SLURM_ARRAY_TASK_STEP": "3",
                "SLURM_ARRAY_TASK_COUNT": "4",
            },
            (2, 4),
        ),
        ({"RANK": "1", "WORLD_SIZE": "3"}, (1, 3)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "1",
                "SLURM_ARRAY_TASK_COUNT": "2",
                "RANK": "2",
                "WORLD_SIZE": "4",
            },
            (6, 8),
        ),
    ],
)
def test_auto_takes_the_share_of_an_array_job_or_of_torchrun(environment, found):
    assert resolve_shard("auto", environment) == found


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("auto", "SLURM_ARRAY_TASK_ID .* none is set: give shard=\\(index, count\\)"),
        ("half", "shard='half': give \\(index, count\\), or \"auto\""),
        (3, "shard=3: give \\(index, count\\), such as"),
        ((4, 4), "the index counts from 0 and must be below the count"),
        ((-1, 4), "the index counts from 0"),
    ],
)
def test_what_is_no_share_is_refused(shard, message):
    with pytest.raises(RequestError, match=message):
        resolve_shard(shard, {})


def test_a_variable_that_is_no_number_is_named():
    with pytest.raises(RequestError, match="RANK is 'first', which is no number"):
        resolve_shard("auto", {"RANK": "first", "WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("count", "order"), [(1, [0]), (2, [0, 1]), (2, [1, 0]), (7, [3, 0, 6, 1, 5, 2, 4])]
)
def test_shares_in_any_order_make_the_same_store(tmp_path, count, order):
    pytest.importorskip("zarr")
    toy = ConjugateNormal(40)
    whole = run(toy, toy.data, batch_size=4, store=tmp_path / "whole.zarr")
    for place, index in enumerate(order):
        options = {"batch_size": 4, "store": tmp_path / "s.zarr", "shard": (index, count)}
        part = run(toy, toy.data, **options)
        if place < len(order) - 1:
            assert not part
            assert "the same call goes on with the rest" in part.unfinished
            assert not run(toy, toy.data, **options)  # twice changes nothing
    assert part.unfinished == ""
    assert_same(part, whole)
    assert_same_bytes(tmp_path / "s.zarr", tmp_path / "whole.zarr")


def test_a_share_needs_a_store_that_the_others_see():
    toy = ConjugateNormal(4)
    with pytest.raises(RequestError, match="shard=.* needs store="):
        run(toy, toy.data, shard=(0, 2))
