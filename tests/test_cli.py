from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fits_for_cli import in_batches
from pyro_posterior.cli import main
from pyro_posterior.errors import StoreError
from pyro_posterior.posterior import Posterior
from pyro_posterior.sampling import sample_posterior

FITS = str(Path(__file__).parent / "fits_for_cli.py")
SOURCE = str(Path(__file__).parents[1] / "src")
needs_zarr = pytest.mark.skipif(not importlib.util.find_spec("zarr"), reason="needs zarr")


def command(*words):
    return [sys.executable, "-m", "pyro_posterior", *map(str, words)]


def environment(**extra):
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **extra}


def call(*words, **options):
    return subprocess.run(
        command(*words), capture_output=True, text=True, env=environment(), timeout=120, **options
    )


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *words, code=2):
    assert main([str(word) for word in words]) == code
    return capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- help


def test_version():
    done = call("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"pyro-posterior \S.*\n", done.stdout)


@pytest.mark.parametrize("name", ["run", "inspect", "report", "export", "demo"])
def test_help_has_an_example_and_the_exit_codes(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out
    assert f"example:\n  pyro-posterior {name} " in text
    assert "130  interrupted" in text


def test_every_option_of_the_function_is_a_flag(capsys):
    import inspect

    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    flags = {"summary_fun": "--summary", "show_progress": "--no-progress"}
    for name in set(inspect.signature(sample_posterior).parameters) - {
        "model",
        "guide",
        "data",
        "coords",  # from a function, in the dict it returns
        "client",
        "shard",
    }:
        assert flags.get(name, "--" + name.replace("_", "-")) in text


@pytest.mark.parametrize("words", [[], ["walk"], ["run"], ["export", "x", "--to", "stone"]])
def test_wrong_usage_is_two(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)


# ----------------------------------------------------------------------------------------------- run


@needs_zarr
def test_run_writes_what_the_function_gives(here):
    done = call("run", f"{FITS}:in_batches", "--seed", 4, "--store", "s.zarr", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    assert "Posterior of 40 observations, 24 draws, seed 4, engine loop" in done.stdout
    assert "Sampling posterior: 100%" in done.stderr
    assert (here / "r.html").read_text().startswith("<!DOCTYPE html>")
    ours = sample_posterior(**in_batches(), seed=4, show_progress=False)
    stored = Posterior.open(here / "s.zarr")
    for key, arrays in ours.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(stored[key][name], array)


@needs_zarr
def test_flags_win_over_the_function(here, capsys):
    words = [
        *("run", f"{FITS}:in_batches", "--num-samples", "5", "--batch-size", "7"),
        *("--exclude-sites", "w", "g", "--return-observed", "--return-samples", "--no-progress"),
        *("--summary", "median=numpy:median", "--summary", f"first={FITS}:first_draw"),
        *("--to-args", f"{FITS}:halves", "--obs-plate", "cells", "--accelerator", "cpu"),
        *("--device", "auto", "--engine", "loop", "--seed", "1", "--store", "s.zarr"),
    ]
    assert main(words) == 0
    assert "Sampling" not in capsys.readouterr().err
    stored = Posterior.open("s.zarr")
    assert list(stored.sites) == ["z", "y"]
    assert list(stored) == ["post_sample_median", "post_sample_first", "posterior_samples"]
    assert stored.plan.batch_sizes == (7, 7, 7, 7, 7, 5)
    draws = np.asarray(stored["posterior_samples"]["z"])
    assert draws.shape == (5, 40)
    np.testing.assert_array_equal(stored["post_sample_first"]["z"], draws[0])
    assert main([*words, "--seed", "2"]) == 1
    assert main([*words, "--seed", "2", "--overwrite"]) == 0


def test_module_in_the_current_folder(here, capsys):
    Path("local_fit.py").write_text(Path(FITS).read_text())
    assert main(["run", "local_fit:in_batches", "--report", "r.html", "--no-progress"]) == 0
    sys.modules.pop("local_fit")


def test_a_result_that_would_be_lost_is_refused(capsys):
    assert "give --store FOLDER, --report FILE" in refused(capsys, "run", f"{FITS}:fitted")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere", "neither a directory nor of the form module:function"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("no_such_file.py:f", "no file 'no_such_file.py'"),
        (f"{FITS}:fited", "has no function 'fited'; it has: .*fitted"),
        (f"{FITS}:two_things", r"must return \(model, guide, data\).*found tuple of 2"),
        (f"{FITS}:misspelt", "returned 'num_sample', which sample_posterior does not take"),
    ],
)
def test_targets_that_do_not_fit(target, message, here, capsys):
    assert re.search(message, refused(capsys, "run", target, "--report", "r.html"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--num-samples", 0), "num_samples must be at least 1"),
        (("--return-sites", "q"), "return_sites names 'q'"),
        (("--summary", "numpy:median"), "not of the form NAME=MODULE:FUNCTION"),
        (("--adata", "x.h5ad"), "--adata goes with the directory"),
    ],
)
def test_options_that_do_not_fit(words, message, here, capsys):
    assert message in refused(
        capsys, "run", f"{FITS}:in_batches", *words, "--report", "r.html", "--no-progress"
    )


def test_a_folder_that_is_no_model(here, capsys):
    assert "directory without model.pt" in refused(capsys, "run", here, "--report", "r.html")


def test_the_report_s_folder_is_looked_for_first(here, capsys):
    words = ("run", f"{FITS}:broken", "--report", "no/such/r.html")
    assert "cannot write 'no/such/r.html'" in refused(capsys, *words)


def test_a_model_s_own_mistake_keeps_its_traceback(here):
    done = call("run", f"{FITS}:broken", "--report", "r.html", "--no-progress")
    assert done.returncode == 1
    assert "ZeroDivisionError: the model's own mistake" in done.stderr
    assert "fits_for_cli.py" in done.stderr


@needs_zarr
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as SIGINT")
def test_ctrl_c_says_how_to_go_on_and_going_on_gives_the_same(here):
    words = ("run", f"{FITS}:slow", "--store", "cut.zarr", "--no-progress")
    started = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(SECONDS_PER_DRAW="0.05"),
    )
    deadline = time.monotonic() + 100
    while not (here / "cut.zarr" / "zarr.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert f"pyro-posterior run {FITS}:slow --store cut.zarr --no-progress" in err
    with pytest.raises(StoreError, match="is unfinished"):
        Posterior.open("cut.zarr")
    assert main(list(words)) == 0
    stored = Posterior.open("cut.zarr")
    whole = [*words[:2], "--store", "whole.zarr", "--no-progress", "--seed", str(stored.seed)]
    assert main(whole) == 0
    for key, arrays in Posterior.open("whole.zarr").items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(stored[key][name], array)


# ------------------------------------------------------------------------------------------- inspect


def test_inspect_lists_the_sites_of_a_model(capsys):
    assert main(["inspect", f"{FITS}:in_batches"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "observation plate 'cells', 10 rows in the first minibatch"
    assert [line.split() for line in lines[1:]] == [
        ["site", "kind", "scope", "shape", "dtype"],
        ["g", "latent", "global", "()", "float32"],
        ["w", "latent", "global", "(4,)", "float32"],
        ["z", "latent", "local", "(10,)", "float32"],
        ["y", "observed", "local", "(10,)", "float32"],
    ]


# ------------------------------------------------------------------------- stores: read and exported


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    pytest.importorskip("zarr")
    path = tmp_path_factory.mktemp("stores") / "made.zarr"
    sample_posterior(
        **in_batches(), seed=3, return_samples=True, store=str(path), show_progress=False
    )
    return path


def test_inspect_lists_the_sites_of_a_store(store, capsys):
    assert main(["inspect", str(store), "--json"]) == 0
    sites = {site["name"]: site for site in json.loads(capsys.readouterr().out)}
    assert sites["z"]["shape"] == [40]
    assert (sites["z"]["scope"], sites["w"]["scope"]) == ("local", "global")


def test_inspect_lists_the_sites_of_an_unfinished_store(store, capsys, tmp_path):
    copy = tmp_path / "copy.zarr"
    shutil.copytree(store, copy)
    mark = max((copy / "segments" / "done" / "c").iterdir())
    mark.write_bytes(b"\0")
    assert main(["inspect", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"unfinished: \d+ of \d+ segments are complete", printed)
    assert re.search(r"z +latent +local +\(40,\)", printed)


def test_report_of_a_store(store, here, capsys):
    assert main(["report", str(store), "--title", "Cells & more"]) == 0
    page = (here / "report.html").read_text()
    assert "<h1>Cells &amp; more</h1>" in page
    assert '"name":"z"' in page


def test_export_to_arviz(store, here, capsys):
    az = pytest.importorskip("arviz")
    assert main(["export", str(store), "--to", "arviz"]) == 0
    assert capsys.readouterr().out == "arviz: made.nc\n"
    found = az.from_netcdf("made.nc")
    draws = np.asarray(Posterior.open(store)["posterior_samples"]["w"])
    np.testing.assert_array_equal(found.posterior["w"].values[0], draws)


def test_export_to_csv(store, here, capsys):
    pandas = pytest.importorskip("pandas")
    means = Posterior.open(store)["post_sample_means"]
    assert main(["export", str(store), "--to", "csv", "--site", "w", "-o", "w.csv"]) == 0
    np.testing.assert_allclose(pandas.read_csv("w.csv")["means"], means["w"], rtol=1e-6)
    assert main(["export", str(store), "--to", "csv"]) == 0
    scalars = pandas.read_csv("made.csv")
    assert list(scalars["site"]) == ["g"]
    np.testing.assert_allclose(scalars["means"], means["g"], rtol=1e-6)


def test_export_to_anndata_needs_the_data(store, here, capsys):
    assert "needs --adata" in refused(capsys, "export", store, "--to", "anndata")


@pytest.mark.parametrize("name", ["report", "inspect"])
def test_a_store_that_is_not_there(name, here, capsys):
    assert main([name, "nothing.zarr"]) == 2


def test_a_damaged_store(store, here, capsys):
    import shutil

    shutil.copytree(store, "bad.zarr")
    (here / "bad.zarr" / "zarr.json").write_text("{")
    assert "bad.zarr" in refused(capsys, "report", "bad.zarr", code=1)


# ------------------------------------------------------------------------------------ saved models


@pytest.mark.scvi
@pytest.mark.slow
def test_a_saved_scvi_tools_model(here, capsys):
    scvi = pytest.importorskip("scvi")
    pytest.importorskip("scanpy")
    import anndata
    import torch
    from scvi.external import RESOLVI

    torch.manual_seed(0)
    np.random.seed(1)
    adata = scvi.data.synthetic_iid(batch_size=25, n_genes=60, generate_coordinates=True)
    adata.obsm["X_spatial"] = adata.obsm["coordinates"]
    RESOLVI.setup_anndata(adata, labels_key="labels")
    model = RESOLVI(adata, semisupervised=True, n_hidden=8, n_hidden_encoder=8)
    model.train(max_epochs=1, enable_progress_bar=False)
    model.save("model")
    adata.write_h5ad("cells.h5ad")

    listed = call("inspect", "model", "--adata", "cells.h5ad", "--json")
    assert listed.returncode == 0, listed.stderr  # what scvi-tools prints is not in the way
    shapes = {site["name"]: site["shape"] for site in json.loads(listed.stdout)}
    assert shapes["diffusion_proportion_per_neighbor"] == [50, 10, 1]
    words = ("--num-samples", "8", "--batch-size", "32", "--engine", "loop", "--store", "s.zarr")
    words = (*words, "--return-sites", "latent")
    assert main(["run", "model", "--adata", "cells.h5ad", *words]) == 0
    latent = Posterior.open("s.zarr")["post_sample_means"]["latent"]
    assert latent.shape == (50, 10)
    words = ("--to", "anndata", "--adata", "cells.h5ad", "-o", "out.h5ad")
    assert main(["export", "s.zarr", *words]) == 0
    np.testing.assert_array_equal(anndata.read_h5ad("out.h5ad").obsm["means_latent"], latent)
    assert "--adata file.h5ad" in refused(capsys, "run", "model", "--report", "r.html")
    words = ("--adata", "cells.h5ad", "--obs-plate", "x", "--report", "r.html")
    assert "--obs-plate is for functions" in refused(capsys, "run", "model", *words)
