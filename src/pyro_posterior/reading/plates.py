"""Which plate has the observations as its rows, and whether guide and model mean the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Set

import torch

from pyro_posterior.errors import RequestError
from pyro_posterior.reading.runs import Run, SeenPlate
from pyro_posterior.reading.survey import Survey


def check_rows(run: Run) -> None:
    """Raise where the guide has other rows of a plate than the model asks for.

    Raises
    ------
    RequestError
        With the plate, both rows, and what to give.
    """
    for name, plate in run.plates.items():
        if name not in run.picks.plates:
            _check_same_rows(name, plate, run.minibatch)


def picked_at_random(runs: Iterable[Run], row_plates: Set[str]) -> dict[str, str]:
    """Sites that rest on rows picked at random in every draw, and why they cannot be had.

    ``pyro.plate("cells", total, subsample_size=len(x))`` picks rows as well, of which nothing may
    come: its sites are those of the minibatch's rows where none of the indices entered them.
    """
    found: dict[str, str] = {}
    for run in runs:
        _picked_by_hand(run, found)
        for plate in run.plates.values():
            who = plate.at_random
            if not who:
                continue
            size, full = plate.sizes[who]
            for name, site in run.sites.items():
                inside = any(frame.name == plate.name for frame in site.frames)
                if run.flow is None:
                    rests = inside or plate.name not in row_plates
                else:
                    rests = plate.name in run.flow.randomness_of(name)
                if rests or (inside and plate.name not in row_plates):
                    found.setdefault(
                        name,
                        f"site {name!r} rests on plate {plate.name!r}, which picks {size} of its "
                        f"{full} rows at random in the {who} (subsample_size= without subsample=), "
                        "other ones in every draw, so its draws cannot be put together: give the "
                        "plate subsample=indices in model and guide (indices that come with the "
                        "data; an autoguide is built with create_plates=), or leave subsample_size "
                        "out to draw all rows",
                    )
    return found


def _picked_by_hand(run: Run, found: dict[str, str]) -> None:
    """Sites on rows that model or guide pick with random numbers of their own, or beside such."""
    plates = set(run.picks.plates & run.plates.keys())
    for name in run.picks.sites & run.sites.keys():  # what is observed there differs by draw
        if run.sites[name].kind == "observed":
            frames = run.sites[name].frames
            plates |= {frame.name for frame in frames if frame.size in run.picks.lengths}
    for name, site in run.sites.items():
        beside = [frame.name for frame in site.frames if frame.name in plates]
        if name in run.picks.sites or beside:
            what = (
                f"lies in plate {beside[0]!r}, the rows of which"
                if beside
                else "rests on rows that"
            )
            found.setdefault(
                name,
                f"site {name!r} {what} the model or guide picks at random by hand (with random numbers "
                "outside any site, such as torch.randperm or numpy.random.choice), other ones in every "
                "draw, so its draws cannot be put together: take all rows as they come with the data "
                "(batch_size= cuts them), or draw the index with pyro.sample where it is a variable "
                "of the model",
            )


def _check_same_rows(name: str, plate: SeenPlate, minibatch: int) -> None:
    if set(plate.sizes) != {"guide", "model"}:
        return
    asked, used = plate.asked["model"], plate.rows
    if asked is not None:
        same = used is not None and torch.equal(asked.cpu(), used.cpu())
        wanted = _words(asked)
    else:
        size, full = plate.sizes["model"]
        same = size == plate.size or size < full  # fewer, at random: the guide's are as good
        wanted = f"{size} rows"
    if not same:
        found = "rows" if used is None else _words(used)
        raise RequestError(
            f"the model asks for {wanted} of plate {name!r} in minibatch {minibatch}, but the "
            f"guide gives {found}: it chooses its rows by itself, whatever the minibatch. Build an "
            "autoguide with create_plates= (a function of the model's arguments that returns the "
            "plate with subsample=indices), or give the plate subsample=indices in your own guide; "
            "or pass the data the guide was fitted to, in the same order and without batch_size"
        )


def _words(rows: torch.Tensor) -> str:
    shown = ", ".join(str(i) for i in rows.flatten()[:6].tolist())
    return f"{len(rows)} rows ({shown}{', ...' if len(rows) > 6 else ''})"


def check_named(runs: Iterable[Run], named: str | None) -> None:
    """Raise unless the plate the caller named is there."""
    plates = dict.fromkeys(
        name for run in runs for name, plate in run.plates.items() if plate.dim is not None
    )
    if named is not None and named not in plates:
        raise RequestError(
            f"obs_plate={named!r} is not a plate of the model. Its plates are: "
            f"{', '.join(map(repr, plates)) or 'none'}"
        )


def given_plates(seen: Survey) -> list[str]:
    """Plates whose rows are named by the data: of several minibatches, those where they differ.

    The one with most sites comes first.
    """
    found = []
    for name, plate in _all_plates(seen).items():
        part = plate.is_given or plate.size != plate.full_size
        by_hand = any(name in run.picks.plates for run in seen.runs)
        if plate.dim is None or plate.at_random or by_hand or not part:
            continue
        others = [run.plates[name] for run in seen.runs if name in run.plates]
        if seen.several and not _differ(seen, name, others):
            continue
        found.append(name)
    return _by_members(seen, found)


def _differ(seen: Survey, name: str, others: list[SeenPlate]) -> bool:
    """Whether a plate's rows may be other ones in other minibatches."""
    if len({plate.size for plate in others}) > 1:
        return True
    rows = [plate.rows for plate in others if plate.rows is not None]
    if any(not torch.equal(rows[0], other) for other in rows[1:]):
        return True
    flow = seen.runs[0].flow
    if flow is None or name not in flow.bits:  # not seen in the first run, or not recorded
        return len(seen.runs) < 2
    return any(seen.stays[number] == "differs" for number in flow.arguments_of(name))


def with_the_same_rows(seen: Survey, plate: str) -> frozenset[str]:
    """All plates that have the rows of this one, in every run."""

    def alike(other: str) -> bool:
        for run in seen.runs:
            one, two = run.plates.get(plate), run.plates.get(other)
            if one is None or two is None:
                continue
            if one.rows is None or two.rows is None or not torch.equal(one.rows, two.rows):
                return False
        return True

    together = _together(seen, plate)
    named = {name for name, found in _all_plates(seen).items() if found.is_given}
    return frozenset(x for x in named - together if alike(x)) | {plate}


def _together(seen: Survey, plate: str) -> set[str]:
    """Plates that some site lies in together with this one."""
    found: set[str] = set()
    for run in seen.runs:
        for site in (*run.sites.values(), *run.guide_sites.values()):
            names = {frame.name for frame in site.frames}
            if plate in names:
                found |= names - {plate}
    return found


def grown_plates(run: Run, other: Run) -> list[str]:
    """Plates that have another size in the other run, that with most sites first."""
    found = [
        (plate.members, name)
        for name, plate in run.plates.items()
        if plate.dim is not None and other.size_of(name) not in (None, plate.size)
    ]
    return [name for _, name in sorted(found, key=lambda pair: -pair[0])]


def _all_plates(seen: Survey) -> dict[str, SeenPlate]:
    found: dict[str, SeenPlate] = {}
    for run in seen.runs:
        for name, plate in run.plates.items():
            found.setdefault(name, plate)
    return found


def _by_members(seen: Survey, names: Iterable[str]) -> list[str]:
    plates = _all_plates(seen)
    return sorted(names, key=lambda name: -plates[name].members)
