"""Stores read back: by plain xarray, from an earlier version, and damaged in every way."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyro_posterior import Posterior
from pyro_posterior.errors import MissingPackageError, StoreError
from pyro_posterior.labels import full_shape
from pyro_posterior.stores.header import KEY
from pyro_posterior.stores.read import read_progress
from pyro_posterior.stores.sealed import sealed, unsealed
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
        assert set(tree.children) == set(posterior)
        np.testing.assert_array_equal(
            tree["post_sample_means/z"], posterior["post_sample_means"]["z"]
        )


@pytest.mark.parametrize("version", [2])
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


def read_all(store: Path) -> dict[tuple[str, str], np.ndarray]:
    posterior = Posterior.open(store)
    return {(r, n): np.asarray(a) for r, arrays in posterior.items() for n, a in arrays.items()}


def test_a_flipped_bit_is_noticed(copy):
    chunk = chunk_of(copy, "post_sample_means/z")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=r"post_sample_means/z/c/1' is not the one that was writ"):
        Posterior.open(copy)


@pytest.mark.parametrize("left", [0, 3, 20])
def test_a_truncated_chunk_of_draws_is_noticed_when_read(copy, left):
    chunk = chunk_of(copy, "posterior_samples/z")
    chunk.write_bytes(chunk.read_bytes()[:left])
    posterior = Posterior.open(copy)
    np.asarray(posterior["posterior_samples"]["mu"])
    with pytest.raises(StoreError, match=r"posterior_samples/z/c/0/1' is not the one"):
        np.asarray(posterior["posterior_samples"]["z"])


def test_a_missing_chunk_is_noticed_on_opening_and_afterwards(copy):
    posterior, chunk = Posterior.open(copy), chunk_of(copy, "posterior_samples/z")
    chunk.unlink()
    with pytest.raises(StoreError, match=r"'.*posterior_samples/z/c/0/1' is missing"):
        Posterior.open(copy)
    np.asarray(posterior["posterior_samples"]["z"][:, :5])
    with pytest.raises(StoreError, match=r"'.*posterior_samples/z/c/0/1' is missing"):
        posterior["posterior_samples"]["z"][:, 5]


def test_draws_of_a_store_that_is_moved_or_holds_another_run(copy):
    toy, first = ConjugateNormal(), Posterior.open(copy)
    copy.rename(copy.with_name("moved.zarr"))
    with pytest.raises(StoreError, match="there is no store at"):
        first["posterior_samples"]["z"][0]
    copy.with_name("moved.zarr").rename(copy)
    first["posterior_samples"]["z"][0]
    run(toy, toy.data, batch_size=5, store=copy, seed=2, overwrite=True)
    with pytest.raises(StoreError, match=r"taken over by another run \(seed 2"):
        first["posterior_samples"]["z"][0]


@pytest.mark.parametrize("name", ["post_sample_q05/mu/zarr.json", "segments/2.json", "coords"])
def test_missing_files_of_other_kinds(copy, name):
    if name == "coords":
        (copy / "post_sample_q05/zarr.json").unlink()
    else:
        (copy / name).unlink()
    with pytest.raises(StoreError, match=r"the file '.*json' is missing"):
        Posterior.open(copy)


def edited(store: Path, name: str, edit: Any) -> None:
    """Change the JSON of a file of a store."""
    content = json.loads((store / name).read_text())
    edit(content)
    (store / name).write_text(json.dumps(content))


def swapped(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: edited(s, "post_sample_means/z/zarr.json", lambda j: j.update(shape=[20])),
        lambda s: edited(s, "posterior_samples/z/zarr.json", lambda j: j.update(shape=[5, 22])),
        lambda s: edited(s, "post_sample_means/z/zarr.json", lambda j: j.update(data_type="int32")),
        lambda s: edited(
            s,
            "post_sample_means/z/zarr.json",
            lambda j: j["codecs"][0].update(configuration={"endian": "big"}),
        ),
        lambda s: edited(s, "post_sample_means/z/zarr.json", lambda j: j.update(attributes={})),
        lambda s: edited(s, "segments/1.json", lambda j: j.update(nonfinite={"z": 7})),
        lambda s: edited(s, "run.json", lambda j: j["record"]["info"].update(seconds=1.0)),
        lambda s: edited(s, "post_sample_means/zarr.json", lambda j: j.update(attributes={"a": 1})),
        lambda s: swapped(s / "post_sample_means/z/c/0", s / "post_sample_means/z/c/1"),
        lambda s: swapped(s / "post_sample_means/z", s / "post_sample_means/sum"),
        lambda s: swapped(s / "post_sample_means", s / "post_sample_stds"),
        lambda s: swapped(s / "segments/1.json", s / "segments/2.json"),
    ],
)
def test_metadata_and_places_are_covered_too(copy, change):
    change(copy)
    with pytest.raises(StoreError, match="is damaged"):
        read_all(copy)


def test_any_byte_of_any_file(finished, tmp_path):
    """Two hundred changes of a bit, a digit or a length: no other number, no other error."""
    wanted, chance = read_all(finished[1]), random.Random(0)
    copy = Path(shutil.copytree(finished[1], tmp_path / "copy.zarr"))
    files = sorted(f for f in copy.rglob("*") if f.is_file() and f.stat().st_size)
    refused = 0
    for _ in range(200):
        file = chance.choice(files)
        content = file.read_bytes()
        changed = bytearray(content)
        place = chance.randrange(len(changed))
        if file.suffix == ".json" and chr(changed[place]).isdigit():
            changed[place] = ord(chance.choice("0123456789"))
        elif chance.random() < 0.1:
            del changed[place:]
        else:
            changed[place] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        try:
            found = read_all(copy)
        except StoreError:
            refused += 1
        else:
            assert all(np.array_equal(found[key], wanted[key]) for key in wanted), file
        file.write_bytes(content)
    assert refused > 180


def test_missing_and_damaged_header(copy, tmp_path):
    header = copy / "zarr.json"
    text = header.read_text()
    for wrong in (
        text[:100],
        "[" * 100_000 + "]" * 100_000,
        json.dumps({"attributes": {}}),
        json.dumps({"attributes": {KEY: {"format_version": "two"}}}),
        json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}),
    ):
        header.write_text(wrong)
        with pytest.raises(StoreError, match="is damaged or not of pyro-posterior"):
            Posterior.open(copy)
    for inside in ({"format_version": 2}, {"format_version": 2, "run": []}):
        header.write_text(json.dumps({"attributes": {KEY: inside}}))
        with pytest.raises(StoreError, match="its header in zarr.json does not hold"):
            Posterior.open(copy)
    header.unlink()
    with pytest.raises(StoreError, match=r"its metadata file zarr\.json is missing"):
        Posterior.open(copy)
    with pytest.raises(StoreError, match="there is no store at"):
        Posterior.open(tmp_path / "nowhere.zarr")


@pytest.mark.parametrize(
    "forge",
    [
        lambda h: h["run"].update(sites="zzz"),
        lambda h: h["run"]["sites"][1].update(dtype="load"),
        lambda h: h["run"]["sites"][1].update(kind="other"),
        lambda h: h["run"]["sites"][1].update(shape=[-1]),
        lambda h: h["run"]["sites"][1].update(batch_axis=-9),
        lambda h: h["run"]["sites"][1].update(dims=5),
        lambda h: h["run"]["sites"][1].update(more=1),
        lambda h: h["run"]["sites"].append(h["run"]["sites"][1]),
        lambda h: h["run"].update(summaries=["../outside"]),
        lambda h: h["run"].update(summaries=["/etc"]),
        lambda h: h["run"].update(summaries=["a", "A"]),
        lambda h: h["run"].update(minibatches=[[1, 10**12]]),
        lambda h: h["run"].update(minibatches=[[10**30, 1]]),
        lambda h: h["run"].update(minibatches=[[2**50, 2]]),
        lambda h: h["run"].update(num_samples=0),
        lambda h: h["run"].update(num_samples=10**10),
        lambda h: h["run"].update(seed=None),
        lambda h: h["run"].update(identity=[1]),
        lambda h: h.update(segment_rows="x"),
        lambda h: h.update(segment_rows=0),
        lambda h: h.update(segment_rows=1),
        lambda h: h.update(data=[]),
        lambda h: h.update(versions=None),
    ],
)
def test_a_forged_header_is_an_error_in_words(copy, forge):
    """Whoever writes another header and its digest anew gets nothing but an error."""
    content = json.loads((copy / "zarr.json").read_text())
    header = unsealed(content["attributes"][KEY])
    forge(header)
    content["attributes"][KEY] = sealed(header)
    (copy / "zarr.json").write_text(json.dumps(content))
    for attempt in (Posterior.open, read_progress):
        with contextlib.suppress(StoreError):
            attempt(copy)
    with pytest.raises(StoreError):
        read_all(copy)


def test_forged_sizes_take_no_memory(copy):
    """A header, mark and record that fit each other, and claim what no disk holds."""
    content = json.loads((copy / "zarr.json").read_text())
    header = unsealed(content["attributes"][KEY])
    header["run"]["minibatches"] = [[10**9, 5]]
    header["segment_rows"] = 10**9
    content["attributes"][KEY] = sealed(header)
    (copy / "zarr.json").write_text(json.dumps(content))
    owner = content["attributes"][KEY]["digest"]
    for name in [f"segments/{number}.json" for number in range(6)] + ["run.json"]:
        held = unsealed(json.loads((copy / name).read_text()))
        (copy / name).write_text(json.dumps(sealed({**held, "owner": owner})))
    before = resource.getrlimit(resource.RLIMIT_AS)
    try:
        with pytest.raises(StoreError, match="laid out in another way"):
            Posterior.open(copy)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("version", [1, 3])
def test_another_format_is_refused_on_reading_and_on_going_on(copy, version):
    edited(copy, "zarr.json", lambda j: j["attributes"][KEY].update(format_version=version))
    toy = ConjugateNormal()
    for attempt in (
        lambda: Posterior.open(copy),
        lambda: run(toy, toy.data, batch_size=5, store=copy),
        lambda: run(toy, toy.data, batch_size=5, store=copy, overwrite=True),
    ):
        with pytest.raises(
            StoreError, match=rf"has format version {version}; this pyro-posterior reads 2"
        ):
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
