"""The collector leaves old objects alone for a while, and is afterwards as it was."""

import gc
import weakref

import pytest

from pyro_posterior.collector import old_ones_left_alone
from toy_models import ConjugateNormal, sample


class _Thing:
    """In a cycle, so that only the collector takes it."""

    def __init__(self) -> None:
        self.itself = self


def test_a_call_leaves_nothing_frozen():
    seen = []

    def model(y):
        seen.append(gc.get_freeze_count())
        toy.model(y)

    toy = ConjugateNormal(9)
    sample(model, toy.guide, toy.y, num_samples=4, engine="sliced")
    assert max(seen) > 0
    assert gc.get_freeze_count() == 0


def test_old_objects_are_frozen_inside_and_new_ones_collected():
    old = weakref.ref(_Thing())
    with old_ones_left_alone():
        assert gc.get_freeze_count() > 0
        new = weakref.ref(_Thing())
        gc.collect()
        assert new() is None
        assert old() is not None
    gc.collect()
    assert old() is None


def test_an_error_thaws_them():
    with pytest.raises(ZeroDivisionError), old_ones_left_alone():
        1 / 0
    assert gc.get_freeze_count() == 0


def test_what_the_process_froze_itself_stays_frozen():
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with old_ones_left_alone():
            pass
        assert gc.get_freeze_count() >= frozen - 10 > 0
    finally:
        gc.unfreeze()
