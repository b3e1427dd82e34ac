"""Stores read back: by plain xarray, from an earlier version, and damaged in every way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyro_posterior import Posterior
from pyro_posterior.errors import MissingPackageError, StoreError
from pyro_posterior.labels import full_shape
from pyro_posterior.stores.header import KEY
from store_helpers import run
from toy_models import ConjugateNormal

pytest.importorskip("zarr")

KEPT = Path(__file__).with_name("kept")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    toy, store = ConjugateNormal(), tmp_path_factory.mktemp("finished") / "s.zarr"
    return run(toy, toy.data, batch_size=5, store=store), store


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of a finished store, to be damaged."""
    return Path(shutil.copytree(finished[1], tmp_path / "copy.zarr"))


def test_plain_xarray_reads_each_result_and_the_whole(finished):
    xarray = pytest.importorskip("xarray")
    posterior, store = finished
    for result in posterior:
        with xarray.open_zarr(store, group=result, chunks=None) as dataset:
            for name, site in posterior.sites.items():
                ahead = ("draw",) if result == "posterior_samples" else ()
                local = ("obs",) if site.scope == "local" else ()
                assert dataset[name].dims == ahead + local
                np.testing.assert_array_equal(dataset[name], posterior[result][name])
    with xarray.open_datatree(store, engine="zarr") as tree:
        assert set(tree.children) == {*posterior, "segments"}
        assert tree["segments/done"].values.tolist() == [1] * 6
        np.testing.assert_array_equal(
            tree["post_sample_means/z"], posterior["post_sample_means"]["z"]
        )


@pytest.mark.parametrize("version", [1])
def test_a_kept_store_of_each_version(version):
    store = KEPT / f"version-{version}.zarr"
    known = json.loads((KEPT / f"version-{version}.json").read_text())
    posterior = Posterior.open(store)
    assert posterior.seed == known["seed"]
    assert posterior.coords["obs"].tolist() == known["obs"]
    assert {s.name: list(full_shape(s, 5)) for s in posterior.plan.sites} == known["shapes"]
    for result, sites in known["results"].items():
        for name, values in sites.items():
            np.testing.assert_array_equal(
                posterior[result][name], np.asarray(values, np.float32), err_msg=f"{result} {name}"
            )
    # Names as the host gave them, along the plate.
    xarray = pytest.importorskip("xarray")
    with xarray.open_zarr(store, group="posterior_samples", chunks=None) as dataset:
        np.testing.assert_array_equal(
            dataset["z"].sel(obs="cell 3"), posterior["posterior_samples"]["z"][:, 3]
        )


def chunk_of(store: Path, array: str) -> Path:
    return sorted(file for file in (store / array / "c").rglob("*") if file.is_file())[1]


def test_a_flipped_bit_is_noticed(copy):
    chunk = chunk_of(copy, "post_sample_means/z")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(
        StoreError, match=r"post_sample_means/z' cannot be read: a chunk is damaged"
    ):
        Posterior.open(copy)


@pytest.mark.parametrize("left", [0, 3, 20])
def test_a_truncated_chunk_of_draws_is_noticed_when_read(copy, left):
    chunk = chunk_of(copy, "posterior_samples/z")
    chunk.write_bytes(chunk.read_bytes()[:left])
    posterior = Posterior.open(copy)
    np.asarray(posterior["posterior_samples"]["mu"])
    with pytest.raises(StoreError, match=r"posterior_samples/z' cannot be read"):
        np.asarray(posterior["posterior_samples"]["z"])


def test_a_missing_chunk_is_noticed(copy):
    chunk_of(copy, "posterior_samples/z").unlink()
    with pytest.raises(StoreError, match=r"the chunk '.*posterior_samples/z/c/0/1' is missing"):
        Posterior.open(copy)


@pytest.mark.parametrize("array", ["post_sample_q05/mu", "segments/done", "segments/nonfinite"])
def test_missing_metadata_of_an_array(copy, array):
    (copy / array / "zarr.json").unlink()
    with pytest.raises(StoreError, match=rf"metadata file '.*{array}/zarr.json' is missing"):
        Posterior.open(copy)


def test_missing_and_damaged_header(copy, tmp_path):
    header = copy / "zarr.json"
    text = header.read_text()
    header.write_text(text[:100])
    with pytest.raises(StoreError, match="is damaged or not of pyro-posterior"):
        Posterior.open(copy)
    for inside in ({}, {KEY: {"format_version": 1}}, {KEY: {"format_version": 1, "run": []}}):
        header.write_text(json.dumps({"attributes": inside}))
        with pytest.raises(StoreError, match="is damaged or not of pyro-posterior"):
            Posterior.open(copy)
    header.write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
    with pytest.raises(StoreError, match="is damaged or not of pyro-posterior"):
        Posterior.open(copy)
    header.unlink()
    with pytest.raises(StoreError, match=r"its metadata file zarr\.json is missing"):
        Posterior.open(copy)
    with pytest.raises(StoreError, match="there is no store at"):
        Posterior.open(tmp_path / "nowhere.zarr")


def test_a_later_format_is_refused_on_reading_and_on_going_on(copy):
    header = copy / "zarr.json"
    content = json.loads(header.read_text())
    content["attributes"]["pyro_posterior"]["format_version"] = 2
    header.write_text(json.dumps(content))
    toy = ConjugateNormal()
    for attempt in (
        lambda: Posterior.open(copy),
        lambda: run(toy, toy.data, batch_size=5, store=copy),
    ):
        with pytest.raises(StoreError, match=r"has format version 2; this pyro-posterior reads"):
            attempt()


def test_without_zarr_the_package_is_named():
    code = (
        "import sys; sys.modules['zarr'] = None\n"
        "from pyro_posterior import Posterior\n"
        "try:\n    Posterior.open('s.zarr')\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(MissingPackageError.__name__)
    assert "pip install 'pyro-posterior[zarr]'" in done.stdout
