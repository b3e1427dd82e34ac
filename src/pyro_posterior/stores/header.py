"""What a store says of its run: read, checked, and compared with the run that wants to go on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pyro_posterior.contracts import RunPlan, Site
from pyro_posterior.errors import StoreError

#: Version of the format in docs/store-format.md.
FORMAT_VERSION = 1

#: Attribute of the root group that holds the header.
KEY = "pyro_posterior"

_WORDS = {"num_samples": "number of samples", "functions": "functions in summary_fun"}


def make_header(plan: RunPlan, identity: Mapping[str, str], segment_rows: int) -> dict[str, Any]:
    """The header of a run, as plain JSON values."""
    return {
        "format_version": FORMAT_VERSION,
        "run": {
            "sites": [_site_to_json(site) for site in plan.sites],
            "obs_plate": plan.obs_plate,
            "num_samples": plan.num_samples,
            "seed": plan.seed,
            "minibatches": [
                [size, len(list(run))] for size, run in itertools.groupby(plan.batch_sizes)
            ],
            "summaries": list(plan.summaries),
            "return_samples": plan.return_samples,
            "engine": plan.engine,
            **identity,
        },
        "segment_rows": segment_rows,
    }


def read_header(path: Path) -> dict[str, Any]:
    """The header of the store at ``path``.

    Raises
    ------
    StoreError
        No store, damaged or missing metadata, or a format of a later version of the library.
    """
    file = path / "zarr.json"
    if not path.exists():
        raise StoreError(f"there is no store at {str(path)!r}")
    if not file.is_file():
        raise StoreError(
            f"{str(path)!r} is not a store of pyro-posterior: its metadata file zarr.json is "
            "missing. Restore that file, or give another path"
        )
    try:
        header = json.loads(file.read_text())["attributes"][KEY]
        version = int(header["format_version"])
        whole = version > FORMAT_VERSION or ("sites" in header["run"] and "segment_rows" in header)
        if not whole:
            raise KeyError("run.sites or segment_rows")
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{str(file)!r} is damaged or not of pyro-posterior ({type(error).__name__}: {error}): "
            "restore that file, or give another path"
        ) from error
    if version > FORMAT_VERSION:
        raise StoreError(
            f"the store {str(path)!r} has format version {version}; this pyro-posterior reads up "
            f"to {FORMAT_VERSION}. Read it with a newer one: pip install -U pyro-posterior"
        )
    return header


def plan_of(header: Mapping[str, Any], path: Path) -> RunPlan:
    """The plan of the run that wrote the store."""
    run = header["run"]
    try:
        return RunPlan(
            sites=tuple(_site_from_json(site) for site in run["sites"]),
            obs_plate=run["obs_plate"],
            num_samples=run["num_samples"],
            seed=run["seed"],
            batch_sizes=tuple(size for size, times in run["minibatches"] for _ in range(times)),
            summaries=tuple(run["summaries"]),
            return_samples=run["return_samples"],
            engine=run["engine"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the header of the store {str(path)!r} is damaged: {error!r}") from error


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In what two headers differ, in words; empty for the same run."""
    ours, theirs = dict(wanted["run"]), dict(stored["run"])
    found = _site_differences(theirs.pop("sites", []), ours.pop("sites"))
    had, has = _observations(theirs.get("minibatches", [])), _observations(ours["minibatches"])
    if had != has:
        found.append(f"number of observations: {had} in the store, {has} in this call")
        ours.pop("minibatches")
    for key, value in ours.items():
        if theirs.get(key) != value:
            word = _WORDS.get(key, key)
            found.append(f"{word}: {_short(theirs.get(key))} in the store, {_short(value)} now")
    return found


def _observations(minibatches: list[list[int]]) -> int:
    return sum(size * times for size, times in minibatches)


def _site_differences(stored: list[Any], wanted: list[Any]) -> list[str]:
    had, has = ({site["name"]: site for site in sites} for sites in (stored, wanted))
    found = []
    if missing := [name for name in has if name not in had]:
        found.append(f"sites: {missing} are not in the store")
    if extra := [name for name in had if name not in has]:
        found.append(f"sites: the store has {extra}, which this call does not ask for")
    for name in has:
        if name in had and had[name] != has[name]:
            keys = [key for key in has[name] if had[name].get(key) != has[name][key]]
            words = "; ".join(
                f"{k} {had[name].get(k)} in the store, {has[name][k]} now" for k in keys
            )
            found.append(f"site {name!r}: {words}")
    if not found and stored != wanted:
        found.append("order of the sites")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _site_to_json(site: Site) -> dict[str, Any]:
    fields = asdict(site)
    fields["dtype"] = str(site.dtype).removeprefix("torch.")
    return {**fields, "shape": list(site.shape), "dims": list(site.dims)}


def _site_from_json(fields: Mapping[str, Any]) -> Site:
    kept = dict(fields)
    kept["dtype"] = getattr(torch, kept["dtype"])
    return Site(**{**kept, "shape": tuple(kept["shape"]), "dims": tuple(kept["dims"])})
