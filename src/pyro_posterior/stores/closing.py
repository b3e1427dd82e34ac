"""The end of a run: metadata gathered for other readers, and ``run.json``, which makes it finished.

``run.json`` holds the record of the run and a digest of every file that no mark covers: metadata,
labels and the marks themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_posterior.stores.arrays import Arrays
from pyro_posterior.stores.checks import check, text
from pyro_posterior.stores.files import damaged, read_inside, write_inside
from pyro_posterior.stores.form import Form
from pyro_posterior.stores.header import KEY, METADATA, Header, group_json
from pyro_posterior.stores.labels import label_files
from pyro_posterior.stores.marks import Mark, mark_file, read_mark
from pyro_posterior.stores.parts import COORDS, RUN, is_part
from pyro_posterior.stores.sealed import canonical, digest_of, sealed, unsealed


@dataclass(frozen=True)
class Closed:
    """What a finished store says of itself, every digest compared."""

    record: Mapping[str, Any]
    marks: Mapping[int, Mark]
    forms: Mapping[tuple[str, str], Form]  # by result and site


def is_closed(root: Path) -> bool:
    """Whether the run that wrote the store came to its very end."""
    return (root / RUN).is_file()


def close(root: Path, header: Header, record: Mapping[str, Any]) -> None:
    """Make a store finished, all of whose segments are complete.

    Raises
    ------
    StoreError
        Segments do not fit each other, or files are missing or damaged.
    """
    files: dict[str, str] = {}
    marks = _read_marks(root, header, files)
    forms = _read_forms(root, header, marks, files)
    _gather(root, header, forms, files)
    for place in label_files(root, header):
        files["/".join(place)] = digest_of(read_inside(root, *place))
    content = {
        "owner": header.owner,
        "record": _with_all_versions(record, header, marks),
        "files": files,
    }
    write_inside(root, canonical(sealed(content)), RUN)


def read_closed(root: Path, header: Header) -> Closed:
    """What a finished store says of itself.

    Raises
    ------
    StoreError
        It is damaged: some file is missing, or is not the one that was written.
    """
    try:
        held = unsealed(read_inside(root, RUN))
        check(held["owner"] == header.owner, "the run")
        files = {text(name): text(digest) for name, digest in held["files"].items()}
        check(all(is_part(header, name) for name in files), "a file")
        record = dict(held["record"])
        record = {"program": text(record["program"]), "info": dict(record["info"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(root, f"its record {RUN!r} does not hold ({error})") from error
    found: dict[str, str] = {}
    marks = _read_marks(root, header, found)
    forms = _read_forms(root, header, marks, found)
    for name in files:
        if name not in found:
            found[name] = digest_of(read_inside(root, *name.split("/")))
    for name, digest in found.items():
        if files.get(name) != digest:
            raise damaged(root, f"{name!r} is not the file that was written")
    for name in (METADATA, *(f"{result}/{METADATA}" for result in header.plan.result_names)):
        if name not in files:
            raise damaged(root, f"its record {RUN!r} does not speak of {name!r}")
    if (root / COORDS / METADATA).is_file() and f"{COORDS}/{METADATA}" not in files:
        raise damaged(root, f"its record {RUN!r} does not speak of labels")
    return Closed(record, marks, forms)


def _read_marks(root: Path, header: Header, files: dict[str, str]) -> dict[int, Mark]:
    """All marks; their digests go into ``files``."""
    marks = {}
    for number, data in zip(header.segments, header.data, strict=True):
        where = mark_file(number)
        content = read_inside(root, *where)
        mark = read_mark(root, header, number, content)
        if mark.owner != header.owner or mark.data != data:
            raise damaged(root, f"{'/'.join(where)!r} is of another run or of other data")
        files["/".join(where)] = digest_of(content)
        marks[number] = mark
    return marks


def _read_forms(
    root: Path, header: Header, marks: Mapping[int, Mark], files: dict[str, str]
) -> dict[tuple[str, str], Form]:
    """The form of every array, which all segments must have written by."""
    arrays, forms = Arrays(header), {}
    for result in header.plan.result_names:
        for site in header.plan.sites:
            where = (result, arrays.folders[site.name], METADATA)
            content = read_inside(root, *where)
            digest = files["/".join(where)] = digest_of(content)
            numbers = [number for number in marks if header.span(number, site)]
            for number in numbers:
                held = marks[number].arrays.get(result, {}).get(site.name, ())
                if held[:1] != (digest,):
                    raise damaged(
                        root,
                        f"segment {number} holds another {result} of site {site.name!r} than its "
                        "metadata say",
                    )
            forms[result, site.name] = arrays.stored_form(root, result, site, content)
    return forms


def _gather(
    root: Path, header: Header, forms: Mapping[tuple[str, str], Form], files: dict[str, str]
) -> None:
    """Put the metadata of all arrays into their groups' and the root's file, in a fixed order."""
    arrays, everything = Arrays(header), {}
    places: dict[str, dict[str, Any]] = {result: {} for result in header.plan.result_names}
    for (result, site), form in forms.items():
        places[result][arrays.folders[site]] = form.json
    for place in label_files(root, header):
        if place[-1] == METADATA and len(place) == 3:
            inside = places.setdefault(place[0], {})
            inside[place[1]] = json.loads(read_inside(root, *place))
    for group, inside in places.items():
        held = json.loads(read_inside(root, group, METADATA))["attributes"]
        content = group_json(held, dict(sorted(inside.items())))
        write_inside(root, content, group, METADATA)
        files[f"{group}/{METADATA}"] = digest_of(content)
        everything[group] = json.loads(group_json(held, {}))
        everything |= {f"{group}/{name}": of for name, of in sorted(inside.items())}
    content = group_json({KEY: header.json}, everything)
    write_inside(root, content, METADATA)
    files[METADATA] = digest_of(content)


def _with_all_versions(
    record: Mapping[str, Any], header: Header, marks: Mapping[int, Mark]
) -> dict[str, Any]:
    """The record, with every version of a package that drew a part of the run."""
    info = dict(record.get("info", {}))
    drew = [header.versions, *(mark.versions for mark in marks.values()), info.get("versions", {})]
    info["versions"] = {
        name: ", ".join(dict.fromkeys(of[name] for of in drew if name in of))
        for name in dict.fromkeys(name for of in drew for name in of)
    }
    return {"program": record.get("program", ""), "info": info}
