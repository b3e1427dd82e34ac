"""What a store says of its run: made, read and checked, and compared with the run that wants to go on."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import torch

from pyro_posterior.contracts import Kind, RunPlan, Segment, Site
from pyro_posterior.errors import StoreError
from pyro_posterior.labels import site_dims
from pyro_posterior.stores.checks import check, names, numbers, text, whole
from pyro_posterior.stores.files import damaged, read_inside
from pyro_posterior.stores.layout import RESULT_NAME, array_names
from pyro_posterior.stores.sealed import SEAL, from_json, sealed, unsealed

#: Version of the format in docs/store-format.md.
FORMAT_VERSION = 2

#: Attribute of the root group that holds the header.
KEY = "pyro_posterior"

#: More minibatches than anybody has; a header that claims them would take all memory.
MOST_MINIBATCHES = 10_000_000

#: And so many observations.
MOST_OBSERVATIONS = 2**40

_SITE_FIELDS = tuple(field.name for field in fields(Site))

#: Name of the metadata file of every group and array.
METADATA = "zarr.json"


@dataclass(frozen=True)
class Header:
    """Everything that fixes the numbers of a store and where they lie."""

    plan: RunPlan
    segment_rows: int  # observations per segment; 0 where every site is global
    identity: Mapping[str, str]  # digests of what fixes the numbers beside the plan, by part
    data: tuple[str, ...]  # digest of the data of every segment, in their order
    versions: Mapping[str, str]  # of the packages that began the run

    @functools.cached_property
    def segments(self) -> dict[int, tuple[int, int]]:
        """Number of every segment and its observations: the first, and the one behind the last."""
        rows, end = self.segment_rows, self.plan.num_obs
        starts = range(0, end, rows) if rows else range(0)
        found = dict.fromkeys(range(len(self.data) - len(starts)), (0, 0))
        numbered = enumerate(starts, max(1, len(found)))
        return found | {number: (low, min(low + rows, end)) for number, low in numbered}

    def span(self, number: int, site: Site) -> tuple[int, int] | None:
        """What a segment has of a site along its `Site.cut_axis`; None: nothing."""
        return site.span(number, self.segments[number])

    @functools.cached_property
    def array_folders(self) -> frozenset[str]:
        """Folders of arrays that a result can have: of sites, and of labels."""
        dims = {dim for dims in site_dims(self.plan).values() for dim in dims}
        return frozenset(dims | set(array_names(site.name for site in self.plan.sites).values()))

    @functools.cached_property
    def json(self) -> dict[str, Any]:
        """As plain values, sealed."""
        plan = self.plan
        return sealed(
            {
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
                    "draws": plan.draws,
                    "replicates": plan.replicates,
                    "chunk_bytes": plan.chunk_bytes,
                    "identity": dict(self.identity),
                },
                "segment_rows": self.segment_rows,
                "data": list(self.data),
                "versions": dict(self.versions),
            }
        )

    @property
    def owner(self) -> str:
        """The run that the store belongs to: the digest of all of this."""
        return str(self.json[SEAL])


def make_header(
    plan: RunPlan,
    segments: Sequence[Segment],
    segment_rows: int,
    identity: Mapping[str, str],
    versions: Mapping[str, str],
) -> Header:
    """The header of a run that begins now.

    Raises
    ------
    StoreError
        There are too many minibatches.
    """
    if len(plan.batch_sizes) > MOST_MINIBATCHES:
        raise StoreError(
            f"{len(plan.batch_sizes)} minibatches are more than a store takes "
            f"({MOST_MINIBATCHES}): make them larger"
        )
    digests = tuple(segment.data_digest for segment in segments)
    return Header(plan, segment_rows, identity, digests, versions)


def read_header(path: Path) -> Header:
    """The header of the store at ``path``.

    Raises
    ------
    StoreError
        No store, damaged or missing metadata, or a format that this version does not read.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {str(path)!r}")
    if not (path / METADATA).is_file():
        raise StoreError(
            f"{str(path)!r} is not a store of pyro-posterior: its metadata file {METADATA} is "
            "missing. Restore that file, or give another path"
        )
    return header_in(read_inside(path, METADATA), path)


def header_in(content: bytes, path: Path) -> Header:
    """The header in the content of the root's metadata file."""
    try:
        held = from_json(content)["attributes"][KEY]
        version = whole(held["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{str(path / METADATA)!r} is damaged or not of pyro-posterior "
            f"({type(error).__name__}: {error}): restore that file, or give another path"
        ) from error
    if version != FORMAT_VERSION:
        newer = "Read it with a newer one: pip install -U pyro-posterior"
        older = "It is of a version that was never released: draw again into another folder"
        raise StoreError(
            f"the store {str(path)!r} has format version {version}; this pyro-posterior reads "
            f"{FORMAT_VERSION}. {newer if version > FORMAT_VERSION else older}"
        )
    try:
        header = _checked(unsealed(held))
        check(header.owner == held[SEAL], "what it says beyond that")
        return header
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise damaged(path, f"its header in {METADATA} does not hold ({error})") from error


def _checked(held: Mapping[str, Any]) -> Header:
    """The header of plain values, each of which is what it has to be."""
    run = held["run"]
    sites = tuple(_site_from_json(site) for site in run["sites"])
    check(len({site.name for site in sites}) == len(sites), "a site comes twice")
    times = [(whole(size), whole(count, 1)) for size, count in run["minibatches"]]
    check(sum(count for _, count in times) <= MOST_MINIBATCHES, "too many minibatches")
    summaries = names(run["summaries"])
    lower = {name.lower() for name in (*summaries, "posterior_samples")}
    check(len(lower) == len(summaries) + 1, "a result comes twice")
    check(all(RESULT_NAME.fullmatch(name) for name in summaries), "a result's name")
    plan = RunPlan(
        sites=sites,
        obs_plate=None if run["obs_plate"] is None else text(run["obs_plate"]),
        num_samples=whole(run["num_samples"], 1),
        seed=whole(run["seed"], -math.inf),
        batch_sizes=tuple(size for size, count in times for _ in range(count)),
        summaries=summaries,
        return_samples=run["return_samples"] is True,
        engine=text(run["engine"]),
        draws="stratified" if run["draws"] == "stratified" else "independent",
        replicates=whole(run["replicates"], 1),
        chunk_bytes=whole(run["chunk_bytes"]),
    )
    rows = whole(held["segment_rows"])
    check(bool(rows) or not plan.local_sites, "segment_rows")
    check(plan.num_obs <= MOST_OBSERVATIONS, "the number of observations")
    header = Header(
        plan,
        rows,
        {text(part): text(digest) for part, digest in run["identity"].items()},
        names(held["data"]),
        {text(name): text(version) for name, version in held["versions"].items()},
    )
    # Sites that are only reduced have segments, too, and are not in the plan.
    of_rows = math.ceil(plan.num_obs / rows) if rows else 0
    parts = max((site.global_parts for site in plan.global_sites), default=0)
    most = of_rows + max(1, parts)
    check(of_rows + parts <= len(header.data) <= most, "the number of segments")
    return header


def _site_to_json(site: Site) -> dict[str, Any]:
    values = {name: getattr(site, name) for name in _SITE_FIELDS}
    values["dtype"] = str(site.dtype).removeprefix("torch.")
    if not site.columns:
        del values["columns"]
    return {**values, "shape": list(site.shape), "dims": list(site.dims)}


def _site_from_json(held: Mapping[str, Any]) -> Site:
    dtype: Any = getattr(torch, text(held["dtype"]), None)
    check(isinstance(dtype, torch.dtype), "a site's dtype")
    shape, axis = numbers(held["shape"]), held["batch_axis"]
    check(held["kind"] in get_args(Kind), "a site's kind")
    check(held["scope"] in ("global", "local"), "a site's scope")
    check((axis is None) == (held["scope"] == "global"), "a site's batch_axis")
    if axis is not None:
        check(-len(shape) <= whole(axis, -math.inf) < 0, "a site's batch_axis")
    dims = tuple(None if name is None else text(name) for name in held["dims"])
    check(len(dims) in (0, len(shape)), "a site's dims")
    site = Site(
        name=text(held["name"]),
        kind=held["kind"],
        scope=held["scope"],
        shape=shape,
        dtype=dtype,
        batch_axis=axis,
        rows_per_obs=whole(held["rows_per_obs"], 1),
        dims=dims,
        columns=whole(held.get("columns", 0)),
    )
    check(set(held) | {"columns"} == set(_SITE_FIELDS), "a site's fields")
    cut = axis is None and 0 < site.columns < max(shape, default=1)
    check(cut if "columns" in held else not site.columns, "a site's columns")
    return site


def group_json(attributes: Mapping[str, Any], inside: Mapping[str, Any] | None = None) -> bytes:
    """Metadata file of a group; ``inside`` is the metadata of what it holds, once all is there."""
    content: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": dict(attributes),
    }
    if inside is not None:
        content["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": dict(inside),
        }
    return json.dumps(content, indent=1 if inside is None else None).encode()
