"""Labels as plain arrays that a store can hold, and back: ``unpack(pack(coords))`` are the labels.

An index of pandas becomes its own words under its own name, its parts beside it as
``<dimension>::<part>``, and one text of JSON that says how they belong together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyro_posterior.errors import RequestError
from pyro_posterior.labelled import as_labels, plain_labels

#: Name of the array with the one text that describes the others.
HOW = "::how"

_SIMPLE = (str, int, float, bool, type(None))


def pack(coords: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of numbers, booleans and text that hold all labels.

    Raises
    ------
    RequestError
        Labels of objects that have no written form.
    """
    arrays: dict[str, np.ndarray] = {}
    how: dict[str, Any] = {}
    for name, values in coords.items():
        labels = as_labels(name, values)
        parts: dict[str, np.ndarray] = {}
        spec = _taken_apart(labels, "", parts, name)
        if set(parts) == {""}:
            arrays[name] = parts[""]
        else:
            arrays[name] = plain_labels(labels).astype(str).astype(object)
            arrays |= {f"{name}::{part}": array for part, array in parts.items()}
        if spec["kind"] != "plain":
            how[name] = spec
    if how:
        arrays[HOW] = np.array([json.dumps(how)], dtype=object)
    again = unpack(arrays)
    for name, values in coords.items():
        if not _same(as_labels(name, values), again[name]):
            raise _unwritable(name, values)
        for label in arrays[name] if arrays[name].dtype.kind == "O" else ():
            if not encodes(label):
                raise RequestError(
                    f"coords gives the label {label!r} for dimension {name!r}, which is no text that "
                    "a file can hold (half of a pair of code points): write it in other characters"
                )
    return arrays


def unpack(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The labels that `pack` was given; those of an index as text where pandas is not installed."""
    how = json.loads(str(arrays[HOW][0])) if HOW in arrays else {}
    coords: dict[str, Any] = {}
    for name, array in arrays.items():
        if name == HOW or ("::" in name and name.split("::")[0] in how):
            continue
        coords[name] = array
        if name in how:
            parts = {
                part.removeprefix(f"{name}::"): values
                for part, values in arrays.items()
                if part.startswith(f"{name}::")
            } or {"": array}
            try:
                coords[name] = _put_together(how[name], "", parts)
            except ImportError:
                continue
    return coords


def encodes(text: str) -> bool:
    """Whether a text has bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _taken_apart(labels: Any, at: str, parts: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    """Put the parts of labels into ``parts``, under names that begin with ``at``."""
    if isinstance(labels, np.ndarray):
        return _array_taken_apart(labels, at, parts, name)
    kind = type(labels).__name__
    if kind == "MultiIndex":
        levels = []
        for place, (level, codes) in enumerate(zip(labels.levels, labels.codes, strict=True)):
            parts[f"{at}{place}.codes"] = np.asarray(codes, np.int64)
            within = _taken_apart(as_labels(name, level), f"{at}{place}.level.", parts, name)
            levels.append({"name": labels.names[place], "level": within})
        return {"kind": "levels", "levels": levels}
    if kind == "CategoricalIndex":
        parts[f"{at}codes"] = np.asarray(labels.codes, np.int64)
        within = _taken_apart(as_labels(name, labels.categories), f"{at}categories.", parts, name)
        return {"kind": "categories", "ordered": bool(labels.ordered), "categories": within}
    if kind == "IntervalIndex":
        ends = {
            end: _taken_apart(as_labels(name, getattr(labels, end)), f"{at}{end}.", parts, name)
            for end in ("left", "right")
        }
        return {"kind": "intervals", "closed": labels.closed, **ends}
    if kind == "PeriodIndex":
        parts[f"{at}ordinals"] = np.asarray(labels.asi8, np.int64)
        return {"kind": "periods", "freq": labels.freqstr}
    if kind == "DatetimeIndex":
        parts[f"{at}times"] = np.asarray(labels.asi8, np.int64)
        return {"kind": "times in a zone", "unit": labels.unit, "zone": str(labels.tz)}
    raise _unwritable(name, labels)


def _array_taken_apart(
    labels: np.ndarray, at: str, parts: dict[str, np.ndarray], name: str
) -> dict[str, Any]:
    kind = labels.dtype.kind
    if kind in "biuf":
        parts[at] = labels
    elif kind in "UT" or (kind == "O" and all(isinstance(label, str) for label in labels)):
        parts[at] = labels.astype(object)
    elif kind in "Mm":
        parts[f"{at}times"] = labels.view(np.int64)
        return {"kind": "times", "dtype": labels.dtype.str}
    else:
        values = [x.item() if isinstance(x, np.generic) else x for x in labels.tolist()]
        if not all(isinstance(value, _SIMPLE) for value in values):
            raise _unwritable(name, labels)
        parts[f"{at}json"] = np.array([*map(json.dumps, values), None], dtype=object)[:-1]
        return {"kind": "mixed"}
    return {"kind": "plain"}


def _put_together(how: Mapping[str, Any], at: str, parts: Mapping[str, np.ndarray]) -> Any:
    kind = how["kind"]
    if kind == "plain":
        return parts[at]
    if kind == "mixed":
        values = [json.loads(str(text)) for text in parts[f"{at}json"]]
        return np.array([*values, None], dtype=object)[:-1]
    if kind == "times":
        return np.asarray(parts[f"{at}times"], np.int64).view(how["dtype"])
    import pandas

    if kind == "levels":
        return pandas.MultiIndex(
            levels=[
                _put_together(level["level"], f"{at}{place}.level.", parts)
                for place, level in enumerate(how["levels"])
            ],
            codes=[parts[f"{at}{place}.codes"] for place in range(len(how["levels"]))],
            names=[level["name"] for level in how["levels"]],
        )
    if kind == "categories":
        categories = _put_together(how["categories"], f"{at}categories.", parts)
        return pandas.CategoricalIndex(
            pandas.Categorical.from_codes(parts[f"{at}codes"], categories, ordered=how["ordered"])
        )
    if kind == "intervals":
        ends = [_put_together(how[end], f"{at}{end}.", parts) for end in ("left", "right")]
        return pandas.IntervalIndex.from_arrays(*ends, closed=how["closed"])
    if kind == "periods":
        ordinals = np.asarray(parts[f"{at}ordinals"], np.int64)
        return pandas.PeriodIndex.from_ordinals(ordinals, freq=how["freq"])
    times = np.asarray(parts[f"{at}times"], np.int64).view(f"M8[{how['unit']}]")
    return pandas.DatetimeIndex(times).tz_localize("UTC").tz_convert(how["zone"])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and (
            one.dtype.kind not in "OT" or [*map(type, one)] == [*map(type, other)]
        )
    return bool(type(one) is type(other) and one.equals(other) and one.dtype == other.dtype)


def _unwritable(name: str, labels: Any) -> RequestError:
    kinds = sorted({type(label).__name__ for label in np.asarray(labels, dtype=object)})
    return RequestError(
        f"coords gives labels for dimension {name!r} that a store cannot hold "
        f"({type(labels).__name__} of {', '.join(kinds[:3])}): give text, numbers, times, "
        "categories, intervals, periods or levels of these; or draw without store="
    )
