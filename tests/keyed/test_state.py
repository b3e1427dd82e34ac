"""The caller's random states are put back, and fresh seeds are fresh."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pyro_posterior.keyed.state import fresh_seed, random_states, untouched_random_state


def test_random_states_are_put_back():
    before = random_states()
    with untouched_random_state():
        torch.randn(3), np.random.rand(3), random.random()
        torch.manual_seed(5)
        assert random_states() != before
    assert random_states() == before


def test_random_states_are_put_back_after_an_error():
    before = random_states()

    def within():
        with untouched_random_state():
            torch.randn(3), np.random.rand(3), random.random()
            raise KeyError

    with pytest.raises(KeyError):
        within()
    assert random_states() == before


def test_fresh_seeds_differ_and_do_not_follow_python():
    random.seed(1)
    one = fresh_seed()
    random.seed(1)
    assert fresh_seed() != one
    assert 0 <= one < 2**53
