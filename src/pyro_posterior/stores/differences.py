"""In what two runs differ, in words: why a store is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_posterior.stores.header import Header

_WORDS = {
    "num_samples": "number of samples",
    "functions": "functions in summary_fun",
    "code": "code of model or guide",
}

#: So many pieces of data that differ are listed.
_LISTED = 5


def differences(stored: Header, wanted: Header) -> list[str]:
    """In what the run of a store and the one that wants to go on differ; empty for the same run."""
    theirs, ours = dict(stored.json["run"]), dict(wanted.json["run"])
    theirs["chunk_bytes"] = ours["chunk_bytes"]  # a run goes on with its own, on any machine
    found = _site_differences(theirs.pop("sites"), ours.pop("sites"))
    had, has = stored.plan.num_obs, wanted.plan.num_obs
    if had != has:
        found.append(f"number of observations: {had} in the store, {has} in this call")
    parts = theirs.pop("identity"), ours.pop("identity")
    for mine, yours in ((theirs, ours), parts):
        for key in [*yours, *(key for key in mine if key not in yours)]:
            if key == "minibatches" and had != has:
                continue
            if mine.get(key) != yours.get(key):
                word = _WORDS.get(key, key)
                had_, has_ = _short(mine.get(key)), _short(yours.get(key))
                found.append(f"{word}: {had_} in the store, {has_} now")
    if not found and stored.segment_rows != wanted.segment_rows:
        found.append(f"rows of a segment: {stored.segment_rows}, {wanted.segment_rows} now")
    return found or _data_differences(stored, wanted)


def other_versions(stored: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Packages of another version than when the run was begun, in words; empty where there is none."""
    return ", ".join(
        f"{name} {stored.get(name, 'none')} then and {version} now"
        for name, version in now.items()
        if stored.get(name) != version
    )


def _data_differences(stored: Header, wanted: Header) -> list[str]:
    segments = zip(wanted.segments.items(), stored.data, wanted.data, strict=True)
    other = [(number, rows) for (number, rows), had, has in segments if had != has]
    if not other:
        return []
    where = [f"{low} to {behind - 1}" for number, (low, behind) in other if number]
    more = f" and {len(where) - _LISTED} more pieces" if len(where) > _LISTED else ""
    if not where:
        return ["data: the first minibatch is another one"]
    return [f"data: other values in the observations {', '.join(where[:_LISTED])}{more}"]


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
