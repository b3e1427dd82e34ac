"""A run with all extensions, stopped or killed in the middle and gone on with, is the whole run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("zarr")

from extending.cases import Y
from extending.test_engines import draw
from pyro_posterior.errors import StoreError
from pyro_posterior.posterior import Posterior
from store_helpers import assert_same_bytes, complete_segments


class Stop(Exception):
    """Ends a run from within its data."""


class Batches:
    """The data three rows at a time; the run ends when it draws the one numbered ``last``."""

    def __init__(self, store: Path | None = None, last: int | None = None) -> None:
        self._store, self._last = store, last

    def __iter__(self):
        for number in range(7):
            if number == self._last and self._store is not None and self._store.exists():
                raise Stop
            yield (Y[3 * number : 3 * number + 3],)


def drawn(engine: str, data: object, **options: object) -> Posterior:
    model, guide, _ = draw.args
    return draw.func(
        model, guide, data, **{**draw.keywords, "engine": engine, "num_samples": 16, **options}
    )


@pytest.mark.parametrize("engine", ["loop", "sliced"])
def test_a_stopped_run_goes_on(tmp_path, engine):
    whole = drawn(engine, Batches(), store=tmp_path / "whole")
    store = tmp_path / "stopped"
    for last in (2, 5):
        with pytest.raises(Stop):
            drawn(engine, Batches(store, last), store=store)
    assert 0 < complete_segments(store) < complete_segments(tmp_path / "whole")
    with pytest.raises(StoreError, match="unfinished"):
        Posterior.open(store)
    resumed = drawn(engine, Batches(), store=store)
    assert_same_bytes(tmp_path / "whole", store)
    for posterior in (resumed, Posterior.open(store)):
        np.testing.assert_array_equal(posterior.log_p, whole.log_p)
        np.testing.assert_array_equal(posterior.log_q, whole.log_q)
        np.testing.assert_array_equal(posterior.log_likelihood, whole.log_likelihood)
        np.testing.assert_array_equal(posterior.khat().pointwise, whole.khat().pointwise)
        for name in ("z_by", "y_by", "product_by"):
            np.testing.assert_array_equal(posterior.draws[name], whole.draws[name])
            np.testing.assert_array_equal(posterior.q05[name], whole.q05[name])


@pytest.mark.parametrize(
    "change",
    [
        {"predictive": False},
        {"expected": False},
        {"log_likelihood": False},
        {"derived": {"product": lambda s: s["z"] + s["mu"]}, "grouped": None},
        {"grouped": {"z_by": ("z", list("abb" * 7), "mean")}},
        {"do": {"mu": 1.0}, "log_likelihood": False},
    ],
)
def test_a_run_that_asks_for_something_else_is_refused(tmp_path, change):
    store = tmp_path / "stopped"
    with pytest.raises(Stop):
        drawn("sliced", Batches(store, 4), store=store)
    with pytest.raises(StoreError):
        drawn("sliced", Batches(), store=store, **change)


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    """The process is killed as soon as some segments are there, three times."""
    script = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from extending.test_resume import Batches, drawn

class Slow(Batches):
    def __iter__(self):
        for batch in super().__iter__():
            time.sleep(0.1)
            yield batch

drawn("loop", Slow(), store=sys.argv[1])
"""
    store = tmp_path / "killed"
    kills = 0
    for wanted in (1, 3, 5):
        running = subprocess.Popen([sys.executable, "-c", script, store], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while running.poll() is None and complete_segments(store) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        kills += running.poll() is None
        running.kill()
        running.communicate()
    assert kills
    drawn("loop", Batches(), store=store)
    drawn("loop", Batches(), store=tmp_path / "whole")
    assert_same_bytes(tmp_path / "whole", store)
