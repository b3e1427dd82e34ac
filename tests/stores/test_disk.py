"""Disks that are full, too small or read-only: what is complete is kept, and the error says so."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from pyro_posterior import Posterior
from pyro_posterior.errors import StoreError
from store_helpers import Batches, assert_same_bytes, complete_segments, run
from toy_models import ConjugateNormal, assert_same

pytest.importorskip("zarr")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room at all."""
    with contextlib.suppress(OSError), open(folder / "ballast", "wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4096))


def test_a_disk_that_fills_up_and_is_cleared(small_disk, tmp_path):
    toy, store = ConjugateNormal(), small_disk / "s.zarr"
    whole = run(toy, toy.data, batch_size=2, store=tmp_path / "whole.zarr")

    def event(index: int) -> None:
        if complete_segments(store) >= 4:
            fill(small_disk)

    with pytest.raises(StoreError, match=r"No space left.*complete and kept") as stopped:
        run(toy, Batches(toy, [2] * 11, event), obs_plate="obs", store=store)
    assert 4 <= complete_segments(store) < 12
    assert f"; in the store {str(store)!r} {complete_segments(store)} of 12" in str(stopped.value)
    with pytest.raises(StoreError, match="are to be written to"):  # no room, said before it starts
        run(toy, Batches(toy, [2] * 11), obs_plate="obs", store=store)
    (small_disk / "ballast").unlink()
    resumed = run(toy, Batches(toy, [2] * 11), obs_plate="obs", store=store)
    assert_same(whole, resumed)
    assert_same_bytes(tmp_path / "whole.zarr", store)


def test_a_file_that_may_not_grow(tmp_path):
    toy, store = ConjugateNormal(), tmp_path / "s.zarr"
    kwargs = {"num_samples": 400, "return_sites": ["z"], "obs_plate": "obs"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def event(index: int) -> None:
        if complete_segments(store) >= 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))

    try:
        with pytest.raises(StoreError, match=r"File too large.* of 11 segments are complete"):
            run(toy, Batches(toy, [2] * 11, event), store=store, **kwargs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run(toy, Batches(toy, [2] * 11), store=store, **kwargs)
    run(toy, toy.data, batch_size=2, store=tmp_path / "whole.zarr", **kwargs)
    assert_same_bytes(tmp_path / "whole.zarr", store)


def test_a_disk_that_is_too_small_from_the_start(small_disk):
    toy = ConjugateNormal()
    calls = []

    class Counted:
        model = staticmethod(toy.model)

        @staticmethod
        def guide(y, index=None):
            calls.append(len(y))
            toy.guide(y, index)

    wanted = (2 + 3 * 22) * (20_000 + 4) * 4
    with pytest.raises(
        StoreError, match=rf"up to {wanted / 1e6:.1f} MB are to be written .* 4.2 MB"
    ):
        run(Counted, toy.data, batch_size=5, num_samples=20_000, store=small_disk / "s.zarr")
    assert not (small_disk / "s.zarr").exists()
    assert len(calls) < 10  # sites were read, nothing was drawn


def test_a_read_only_disk(small_disk):
    toy, store = ConjugateNormal(), small_disk / "s.zarr"
    written = run(toy, toy.data, batch_size=5, store=store)
    shutil.copytree(store, small_disk / "half.zarr")
    (small_disk / "half.zarr/segments/3.json").unlink()
    (small_disk / "half.zarr/run.json").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_same(written, Posterior.open(store))
    assert_same(written, run(toy, toy.data, batch_size=5, store=store))
    for path, match in (
        (small_disk / "new.zarr", "cannot begin the store .* Read-only file system"),
        (small_disk / "half.zarr", "Read-only file system; .* 5 of 6 segments are complete"),
    ):
        with pytest.raises(StoreError, match=match):
            run(toy, toy.data, batch_size=5, store=path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    toy = ConjugateNormal()
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"cannot begin the store .* Permission denied"):
        run(toy, toy.data, store=tmp_path / "s.zarr")
    tmp_path.chmod(0o700)
