"""What every store has to do: tests to inherit, and a machine of random steps.

A test module for a store::

    class TestMemory(StoreTests):
        def open(self, folder, plan, segments, overwrite=False):
            return MemoryStore(plan, segments)

    TestSteps = steps_of(open_zarr, read_zarr).TestCase  # only for stores that last
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_posterior.contracts import (
    Results,
    RunPlan,
    Segment,
    SegmentResult,
    Site,
    Store,
)
from pyro_posterior.errors import StoreError
from pyro_posterior.segments import cut

Open = Callable[..., Store]

_SITES = (
    Site("local", "latent", "local", (3, 2), torch.float32, batch_axis=-2),
    Site("pairs/twice", "deterministic", "local", (6,), torch.float64, -1, rows_per_obs=2),
    Site("global", "latent", "global", (4,), torch.float32),
    Site("large", "latent", "global", (2, 5), torch.float32, columns=2),
)

_ROWS = 3

#: Of the large site's columns, and of the observations; the small global site is in the first.
_SEGMENTS = 3 + 3

_ORDERS = ([0, 1, 2, 3, 4, 5], [3, 5, 1, 0, 4, 2], [2, 3, 5, 4, 1, 0])


def toy_run(seed: int = 0) -> tuple[RunPlan, tuple[Segment, ...]]:
    """A plan of eight observations in four minibatches, and its segments."""
    names = ("post_sample_means", "post_sample_stds")
    plan = RunPlan(_SITES, "obs", 5, seed, (3, 3, 1, 1), names, True, "loop")
    return plan, cut(plan, _ROWS, [f"{seed}-{index}" for index in range(4)])


def toy_result(plan: RunPlan, segment: Segment) -> SegmentResult:
    """What a segment of the toy run holds, fixed by the seed: numbers nobody would guess."""
    whole = toy_whole(plan)
    spans = {site: site.span(segment.number, segment.rows) for site in plan.sites}
    wanted = [site for site, span in spans.items() if span is not None]
    results = {
        result: {
            site.name: arrays[site.name][site.within(arrays[site.name].ndim, span)]
            for site, span in spans.items()
            if span is not None
        }
        for result, arrays in whole.items()
    }
    totals = {"total": np.array([segment.number, plan.seed], np.int64), "none": np.zeros((0, 2))}
    return SegmentResult(
        segment,
        results,
        nonfinite={wanted[0].name: segment.number + 1},
        tiers=("loop",),
        partials={"totals": totals},
    )


def toy_whole(plan: RunPlan) -> Results:
    """All results of the toy run."""
    rng = np.random.default_rng(plan.seed)
    found: Results = {}
    for result in plan.result_names:
        ahead = (plan.num_samples,) if result == "posterior_samples" else ()
        found[result] = {}
        for site in plan.sites:
            dtype = np.float64 if site.dtype == torch.float64 else np.float32
            shape = (*ahead, *site.full_shape(plan.num_obs))
            found[result][site.name] = rng.normal(size=shape).astype(dtype)
    return found


def assert_same_results(found: Mapping[str, Mapping[str, Any]], plan: RunPlan) -> None:
    """The whole of the toy run, to the last bit, sites in the model's order."""
    wanted = toy_whole(plan)
    assert list(found) == list(wanted)
    for result, arrays in wanted.items():
        assert list(found[result]) == list(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(np.asarray(found[result][name]), values)
            assert np.asarray(found[result][name]).dtype == values.dtype


class StoreTests:
    """Inherit, and say in ``open`` how a store is opened."""

    def open(
        self, folder: Path, plan: RunPlan, segments: Sequence[Segment], overwrite: bool = False
    ) -> Store:
        """A store of this run in a folder of its own."""
        raise NotImplementedError

    def test_segments_come_in_any_order(self, tmp_path: Path) -> None:
        plan, segments = toy_run()
        for turn, order in enumerate(_ORDERS):
            with self.open(tmp_path / str(turn), plan, segments) as store:
                left = {segment.number for segment in segments}
                for place in order:
                    assert store.missing() == left
                    store.write(toy_result(plan, segments[place]))
                    left.discard(segments[place].number)
                assert store.missing() == frozenset()
                assert_same_results(store.finish(lambda: _RECORD).results, plan)

    def test_a_segment_may_come_again_and_counts_once(self, tmp_path: Path) -> None:
        plan, segments = toy_run()
        with self.open(tmp_path / "s", plan, segments) as store:
            for segment in (*segments, *segments[2:5]):
                store.write(toy_result(plan, segment))
            finished = store.finish(lambda: _RECORD)
        assert finished.nonfinite == {"local": 4 + 5 + 6, "global": 1, "large": 2 + 3}
        assert_same_results(finished.results, plan)

    def test_partial_results_come_in_the_order_of_segments(self, tmp_path: Path) -> None:
        plan, segments = toy_run(7)
        with self.open(tmp_path / "s", plan, segments) as store:
            for segment in reversed(segments):
                store.write(toy_result(plan, segment))
            found = list(store.partials("totals"))
            assert list(store.partials("nobody's")) == []
        assert [part["total"].tolist() for part in found] == [[n, 7] for n in range(_SEGMENTS)]
        assert all(part["none"].shape == (0, 2) for part in found)

    def test_the_record_comes_back(self, tmp_path: Path) -> None:
        plan, segments = toy_run()
        with self.open(tmp_path / "s", plan, segments) as store:
            for segment in segments:
                store.write(toy_result(plan, segment))
            record = store.finish(lambda: _RECORD).record
        assert record["program"] == "a program"
        assert record["info"]["seconds"] == 1.5

    def test_it_says_what_is_kept_in_one_line(self, tmp_path: Path) -> None:
        plan, segments = toy_run()
        with self.open(tmp_path / "s", plan, segments) as store:
            store.write(toy_result(plan, segments[0]))
            assert "\n" not in store.describe()


_RECORD = {"program": "a program", "info": {"seconds": 1.5}}


def steps_of(open_store: Open, read: Callable[[Path], Any]) -> Any:
    """A Hypothesis machine: begin, write, kill, go on, finish, open, overwrite, in any order.

    Parameters
    ----------
    open_store
        ``open_store(folder, plan, segments, overwrite=False)``.
    read
        Gives the results and the seed of a finished store, or raises `StoreError`.
    """
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

    seeds, places = st.integers(1, 2), st.integers(0, _SEGMENTS - 1)

    class Steps(RuleBasedStateMachine):
        """Beside the store goes what it must hold: whose it is, which segments, whether finished."""

        @initialize()
        def start(self) -> None:
            self.folder = Path(tempfile.mkdtemp()) / "s.zarr"
            self.seed, self.done, self.finished = 0, set[int](), False
            self.store: Store | None = None
            self.mine = 0

        @rule(seed=seeds)
        def begin_or_go_on(self, seed: int) -> None:
            self.kill(False)
            if self.seed not in (0, seed):
                _refused(lambda: open_store(self.folder, *toy_run(seed)))
                return
            self.store, self.seed, self.mine = open_store(self.folder, *toy_run(seed)), seed, seed
            assert self.store.missing() == frozenset(range(_SEGMENTS)) - self.done

        @rule(seed=seeds, from_elsewhere=st.booleans())
        def overwrite(self, seed: int, from_elsewhere: bool) -> None:
            """By another process too: then the store that is open belongs to somebody else."""
            if not from_elsewhere:
                self.kill(False)
            new = open_store(self.folder, *toy_run(seed), overwrite=True)
            assert new.missing() == frozenset(range(_SEGMENTS))
            self.seed, self.done, self.finished = seed, set(), False
            if from_elsewhere:
                new.__exit__(None, None, None)
            else:
                self.store, self.mine = new, seed

        @rule(place=places)
        def write(self, place: int) -> None:
            if self.store is None:
                return
            plan, segments = toy_run(self.mine)

            def step() -> None:
                assert self.store is not None
                self.store.write(toy_result(plan, segments[place]))
                self.store.missing()  # until it is written

            if self.mine != self.seed:
                _refused(step)
            else:
                step()
                self.done.add(place)

        @rule(half_written=st.booleans())
        def kill(self, half_written: bool) -> None:
            """What was being written may be there in part, under a name of its own or the last."""
            if self.store is not None:
                self.store.__exit__(None, None, None)
            self.store = None
            group = self.folder / "posterior_samples"
            if half_written and group.is_dir():
                (group / f".zarr.json.{'0' * 32}.partial").write_bytes(b"{")
                if 4 not in self.done:
                    chunk = group / "local/c/0/1/0"
                    chunk.parent.mkdir(parents=True, exist_ok=True)
                    chunk.write_bytes(b"half")

        @rule()
        def finish(self) -> None:
            if self.store is None:
                return
            if self.mine != self.seed or len(self.done) < _SEGMENTS:
                _refused(lambda: self.store.finish(lambda: _RECORD))  # type: ignore[union-attr]
                return
            assert_same_results(self.store.finish(lambda: _RECORD).results, toy_run(self.seed)[0])
            self.finished = True

        @rule()
        def open(self) -> None:
            if not self.finished:
                _refused(lambda: read(self.folder))
                return
            results, seed = read(self.folder)
            assert seed == self.seed
            assert_same_results(results, toy_run(seed)[0])

        def teardown(self) -> None:
            if hasattr(self, "folder"):
                self.kill(False)
                shutil.rmtree(self.folder.parent)

    return Steps


def _refused(step: Callable[[], Any]) -> None:
    try:
        step()
    except StoreError:
        return
    raise AssertionError("this step should have been refused with a StoreError")
