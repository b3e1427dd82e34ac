"""How many rows each minibatch has, and a run on minibatches of another size to compare with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.utils._pytree import tree_map

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import RequestError
from pyro_posterior.joint import JointSampler
from pyro_posterior.reading.plates import check_rows, grown_plates
from pyro_posterior.reading.runs import Run, look
from pyro_posterior.reading.survey import Survey
from pyro_posterior.sliced.signature import tensors_of

logger = logging.getLogger(__name__)


def leading_tensor(seen: Survey) -> int | None:
    """Number of the tensor whose first axis are the rows where no plate tells: the first that differs."""
    usable = [number for number, shape in enumerate(seen.shapes[0]) if shape]
    differing = [number for number in usable if seen.stays[number] == "differs"]
    if seen.several:
        return differing[0] if differing else None
    return usable[0] if usable else None


def check_different(seen: Survey) -> None:
    """Raise where minibatches do not differ, so that nothing shows which axes are their rows.

    Raises
    ------
    RequestError
        With what to give.
    """
    lengths = {shape[0] for shape in seen.shapes[0] if shape}
    alike = seen.several and len(seen.runs) == 1 and "differs" not in seen.stays
    if alike and any(lengths & set(site.shape) for site in seen.runs[0].sites.values()):
        raise RequestError(
            f"the {len(seen.kinds)} minibatches have the same values, so it cannot be told which "
            "of their tensors hold observations: name the plate of the observations with "
            "obs_plate=, or give all data in one minibatch"
        )


def size_of_run(seen: Survey, number: int, plate: str | None) -> int | None:
    """Observations in the minibatch of a run: of the plate, else of the leading tensor."""
    size = seen.runs[number].size_of(plate)
    return size if size is not None else _length(seen, seen.runs[number].minibatch)


def sizes_of(seen: Survey, plate: str | None) -> tuple[int, ...]:
    """Observations in every minibatch."""
    found = []
    for minibatch, kind in enumerate(seen.kinds):
        size = seen.runs[kind].size_of(plate)
        size = size if size is not None else _length(seen, minibatch)
        found.append(1 if size is None else size)
    return tuple(found)


def _length(seen: Survey, minibatch: int) -> int | None:
    lead = leading_tensor(seen)
    shape = None if lead is None else seen.shapes[minibatch][lead]
    return shape[0] if shape else None


@dataclass(frozen=True)
class Twin:
    """A run on a minibatch of another size than the first."""

    run: Run
    size: int
    resized: Mapping[int, int]  # axes of tensors that were given other rows; empty: the data's own
    doubtful: frozenset[int]  # of those, the ones that may be no row data


def twin_of_data(seen: Survey, plate: str | None) -> Twin | None:
    """A run on a minibatch of the data that has another size than the first."""
    size = size_of_run(seen, 0, plate)
    for number, run in enumerate(seen.runs[1:], start=1):
        other = size_of_run(seen, number, plate)
        known = plate is None or run.size_of(plate) is not None
        if known and size and other and other != size and not any(run.misfits("latent")):
            return Twin(run, other, {}, frozenset())
    return None


def twin_made(sampler: JointSampler, seen: Survey, plate: str | None) -> Twin | None:
    """A run on the first minibatch with other rows in the tensors that hold its rows, where it runs.

    Tensors that differ between minibatches and are as long as the plate come first; those that are
    as long but equal in all of them (or the only minibatch's) join where the model does not run
    without.
    """
    size = size_of_run(seen, 0, plate)
    if not size:
        return None
    axes = {number: _row_axes(seen, number, plate) for number in range(len(seen.shapes[0]))}
    long = [number for number, found in axes.items() if found]
    sure = frozenset(n for n in long if seen.several and seen.stays[n] == "differs")
    doubtful = frozenset(n for n in long if not seen.several or seen.stays[n] == "equal")
    fallback = None
    for pick in (0, -1) if any(len(found) > 1 for found in axes.values()) else (0,):
        for chosen in dict.fromkeys((sure, sure | doubtful)):
            along = {number: axes[number][pick] for number in chosen}
            run = _run_resized(sampler, seen, size, along) if along else None
            if run is None:
                continue
            twin = Twin(run, _other(size), along, chosen & doubtful)
            grown = run.size_of(plate) == _other(size)
            if grown or (not plate and grown_plates(seen.runs[0], run)):
                return twin
            fallback = fallback or twin
    if plate is None:
        return fallback
    if fallback is not None and seen.several:
        raise RequestError(
            f"plate {plate!r} has {size} rows whatever the size of the minibatch: name the plate "
            "that follows it with obs_plate=, or give this one subsample=indices in model and "
            "guide (an autoguide is built with create_plates=, a function of the model's arguments "
            "that returns the plate with subsample=indices)"
        )
    return None


def without_doubt(sampler: JointSampler, seen: Survey, plate: str | None, twin: Twin) -> Twin:
    """The twin with as few tensors resized as the model runs with: a table keeps its length."""
    size, lead = size_of_run(seen, 0, plate), leading_tensor(seen)
    assert size is not None
    along, run = dict(twin.resized), twin.run
    for number in sorted(twin.doubtful):
        if plate is None and number == lead:
            continue
        fewer = {n: axis for n, axis in along.items() if n != number}
        found = _run_resized(sampler, seen, size, fewer) if fewer else None
        if found is not None and found.size_of(plate) == twin.run.size_of(plate):
            along, run = fewer, found
    return Twin(run, twin.size, along, frozenset())


def _other(size: int) -> int:
    return 3 if size > 3 else size + 1


def _row_axes(seen: Survey, number: int, plate: str | None) -> list[int]:
    """Axes of a tensor that are as long as the rows in every minibatch that was run."""

    def follows(axis: int) -> bool:
        for i, run in enumerate(seen.runs):
            shape = seen.shapes[run.minibatch][number]
            if shape is None:  # which tells nothing
                continue
            if axis >= len(shape) or shape[axis] != size_of_run(seen, i, plate):
                return False
        return True

    return [axis for axis in range(len(seen.shapes[0][number] or ())) if follows(axis)]


def _run_resized(
    sampler: JointSampler, seen: Survey, size: int, along: Mapping[int, int]
) -> Run | None:
    """The first minibatch with other rows along these axes; None where it does not run so."""
    changed = resized(seen.first, along, _other(size))
    try:
        run = look(sampler, changed, recorded=False)
    except Exception as error:  # the model's own checks on its data may refuse another size
        logger.debug("model cannot run on %d of %d rows: %s", _other(size), size, error)
        return None
    try:
        check_rows(run)
    except RequestError:
        if seen.several:
            raise
        return None
    if any(run.misfits("latent", "observed")):
        return None  # the guide kept its own size, and the model broadcast it
    return run


def _picked(x: torch.Tensor, axis: int, rows: torch.Tensor) -> torch.Tensor:
    """``index_select``, which compressed sparse tensors do not have."""
    if x.layout in (torch.strided, torch.sparse_coo):
        return x.index_select(axis, rows)
    return x.to_sparse_coo().index_select(axis, rows).to_sparse(layout=x.layout)


def resized(minibatch: Minibatch, axes: Mapping[int, int], size: int) -> Minibatch:
    """The same minibatch with ``size`` rows, its own repeated or left out.

    ``axes``: the axis of the rows by number of the tensor; others stay as they are.
    """
    made = {}
    for number, x in enumerate(tensors_of(minibatch)):
        if number in axes:
            rows = torch.arange(size, device=x.device) % x.shape[axes[number]]
            made[id(x)] = _picked(x, axes[number], rows)
    args, kwargs = tree_map(
        lambda x: made.get(id(x), x), (tuple(minibatch.args), dict(minibatch.kwargs))
    )
    return Minibatch(minibatch.index, args, kwargs)
