"""``inspect`` lists the sites of a model and of a store, without sampling."""

from __future__ import annotations

import json
import re
import shutil

from pyro_posterior.cli import main


def test_inspect_lists_the_sites_of_a_model(fits, capsys):
    assert main(["inspect", f"{fits}:in_batches"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "observation plate 'cells', 10 rows in the first minibatch"
    assert [line.split() for line in lines[1:]] == [
        ["site", "kind", "scope", "shape", "dtype"],
        ["g", "latent", "global", "()", "float32"],
        ["w", "latent", "global", "(4,)", "float32"],
        ["z", "latent", "local", "(10,)", "float32"],
        ["y", "observed", "local", "(10,)", "float32"],
    ]


def test_inspect_lists_the_sites_of_a_store(store, capsys):
    assert main(["inspect", str(store), "--json"]) == 0
    sites = {site["name"]: site for site in json.loads(capsys.readouterr().out)}
    assert sites["z"]["shape"] == [40]
    assert (sites["z"]["scope"], sites["w"]["scope"]) == ("local", "global")


def test_inspect_lists_the_sites_of_an_unfinished_store(store, capsys, tmp_path):
    copy = tmp_path / "copy.zarr"
    shutil.copytree(store, copy)
    mark = max((copy / "segments").glob("*.json"))
    mark.unlink()
    (copy / "run.json").unlink()
    assert main(["inspect", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"unfinished: \d+ of \d+ segments are complete", printed)
    assert f"missing segments: {mark.stem}\n" in printed
    assert re.search(r"z +latent +local +\(40,\)", printed)
    assert main(["inspect", str(copy), "--shards", "1"]) == 0
    assert f"missing segments: {mark.stem} (shard 0/1)\n" in capsys.readouterr().out
