"""The checks fail as often as they say, and find what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from pyro_posterior.testing.checks import assert_same, assert_within, bound, disagreements


def alarms(false_alarm: float, numbers: int, tries: int) -> int:
    generator = np.random.default_rng(0)
    count = 0
    for _ in range(tries):
        try:
            assert_within(generator.normal(size=numbers), 0, 1, "x", false_alarm=false_alarm)
        except AssertionError:
            count += 1
    return count


@pytest.mark.parametrize("numbers", [1, 50])
def test_the_rate_of_false_alarms_is_the_declared_one(numbers: int) -> None:
    # 2,000 tries at 5 %: 100 expected, a standard deviation of 10.
    assert 60 <= alarms(0.05, numbers, 2000) <= 140


def test_what_is_far_off_is_found_and_named() -> None:
    found = np.array([0.1, 6.0, -0.2])
    with pytest.raises(AssertionError, match=r"weights: 6.0 for 0.0 .* at 1"):
        assert_within(found, 0, 1, "weights")


def test_bound_is_the_normal_quantile() -> None:
    assert bound(1, 0.05) == pytest.approx(1.959964, abs=1e-6)


def test_disagreements_name_mean_and_sd() -> None:
    generator = np.random.default_rng(1)
    one = generator.normal(size=(500, 4))
    assert disagreements(one, generator.normal(size=(500, 4))) == []
    assert disagreements(one, generator.normal(size=(500, 4)) + 1) == ["mean"]
    assert disagreements(one, 2 * generator.normal(size=(500, 4))) == ["sd"]


def test_same_is_bit_equal() -> None:
    one = {"m": {"z": np.array([1.0, np.nan])}}
    assert_same(one, {"m": {"z": np.array([1.0, np.nan])}})
    with pytest.raises(AssertionError, match="m z"):
        assert_same(one, {"m": {"z": np.array([1.0 + 1e-15, np.nan])}})
