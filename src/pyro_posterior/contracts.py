"""What the steps of the pipeline hand to each other; every other file depends on this one, it on none.

``request -> job -> segments -> blocks -> reductions -> store -> posterior``: a step knows the types
below and nothing of how its neighbour works.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch

#: Latent, deterministic and observed sites are the model's own; the others come from extensions.
Kind = Literal["latent", "deterministic", "observed", "derived", "predicted", "density"]
Scope = Literal["global", "local"]
Engine = Literal["auto", "sliced", "loop"]
Draws = Literal["stratified", "independent"]

#: Joint draws for one minibatch: ``{site: (draw, *site shape)}``. Whatever reduces draws takes these.
Block = dict[str, torch.Tensor]

#: ``{"post_sample_means": {site: array}, ...}``, the documented layout of a result.
Results = dict[str, dict[str, np.ndarray]]

#: ``fun(x, axis=0)`` on a NumPy array ``(draw, *site shape)``.
SummaryFunction = Callable[..., Any]

#: Functions by name, or a list of names of summaries and of such dicts.
Summaries = Mapping[str, SummaryFunction] | Sequence[str | Mapping[str, SummaryFunction]]


@dataclass(frozen=True)
class Minibatch:
    """The arguments of one call of model and guide."""

    index: int  # position in the loader's order; part of the key of its random numbers
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """One named value of the model, as read once before any sampling."""

    name: str
    kind: Kind
    scope: Scope
    shape: tuple[int, ...]  # of one draw, in the first minibatch
    dtype: torch.dtype
    batch_axis: int | None = None  # negative, counted from the right of one draw; None: global
    rows_per_obs: int = 1  # length of the batch axis over the number of observations
    dims: tuple[str | None, ...] = ()  # plate name per axis of one draw, None where no plate has it
    columns: int = 0  # of a large global site: positions of its longest axis per segment; 0: all

    def rows(self, num_obs: int) -> int:
        """Length of the batch axis for so many observations."""
        return num_obs * self.rows_per_obs

    def full_shape(self, num_obs: int) -> tuple[int, ...]:
        """Shape of one draw for so many observations."""
        shape = list(self.shape)
        if self.batch_axis is not None:
            shape[self.batch_axis] = self.rows(num_obs)
        return tuple(shape)

    @property
    def cut_axis(self) -> int | None:
        """Negative axis along which segments divide the site, None where one of them has it whole."""
        if self.batch_axis is not None or not self.columns:
            return self.batch_axis
        return self.shape.index(max(self.shape)) - len(self.shape)

    @property
    def global_parts(self) -> int:
        """Number of segments that a global site lies in."""
        return math.ceil(max(self.shape) / self.columns) if self.columns else 1

    def span(self, number: int, rows: tuple[int, int]) -> tuple[int, int] | None:
        """What a segment of this number and these observations has of the site, along `cut_axis`.

        None: nothing. A global site that is not cut lies in segment 0, as if it were one row.
        """
        if self.batch_axis is not None:
            return (self.rows(rows[0]), self.rows(rows[1])) if rows[1] > rows[0] else None
        if rows[1] > rows[0] or number >= self.global_parts:
            return None
        if not self.columns:
            return 0, 1
        return number * self.columns, min((number + 1) * self.columns, max(self.shape))

    def at(self, ndim: int, first: int, behind: int) -> tuple[slice, ...]:
        """Index of these observations in an array of ``ndim`` axes whose last are the site's."""
        return self.within(ndim, (self.rows(first), self.rows(behind)))

    def within(self, ndim: int, span: tuple[int, int]) -> tuple[slice, ...]:
        """Index of a span along `cut_axis` in an array of ``ndim`` axes whose last are the site's."""
        if self.cut_axis is None:
            return ()
        return (slice(None),) * (ndim + self.cut_axis) + (slice(*span),)


@dataclass(frozen=True)
class RunPlan:
    """Everything that fixes the numbers and the layout of a run, known before the first draw."""

    sites: tuple[Site, ...]  # those asked for, in the model's order
    obs_plate: str | None
    num_samples: int
    seed: int
    batch_sizes: tuple[int, ...]  # observations per minibatch, in order
    summaries: tuple[str, ...]  # names of the results, "post_sample_means" and so on
    return_samples: bool
    engine: str
    draws: Draws = "stratified"
    replicates: int = 1  # independent parts that the draws are divided into, to tell errors
    chunk_bytes: int = 0  # of random numbers drawn at once, by which sums round; 0: the loop draws

    @property
    def replicate_lengths(self) -> tuple[int, ...]:
        """Lengths of the independent parts of the draws, which differ by at most one."""
        whole, longer = divmod(self.num_samples, self.replicates)
        return (whole + 1,) * longer + (whole,) * (self.replicates - longer)

    @property
    def cubes(self) -> tuple[int, ...]:
        """Lengths of the hypercubes; none for independent draws."""
        return self.replicate_lengths if self.draws == "stratified" else ()

    @property
    def num_obs(self) -> int:
        """Number of observations (rows of the obs plate) over all minibatches."""
        return sum(self.batch_sizes)

    @property
    def result_names(self) -> tuple[str, ...]:
        """Keys of the result."""
        return self.summaries + (("posterior_samples",) if self.return_samples else ())

    @property
    def local_sites(self) -> tuple[Site, ...]:
        return tuple(site for site in self.sites if site.scope == "local")

    @property
    def global_sites(self) -> tuple[Site, ...]:
        return tuple(site for site in self.sites if site.scope == "global")


@dataclass(frozen=True)
class Part:
    """Sites that are drawn together. ``part.draw(range(0, 8))`` is a `Block` of 8 draws."""

    sites: tuple[Site, ...]
    chunk: int  # draws per call
    draw: Callable[[range], Block]  # of a range of draw numbers that begins on a whole chunk
    tier: str  # "batched slice", "unbatched slice" or "loop"
    fixed: frozenset[str] = frozenset()  # sites that no draw enters, the same in all of them
    instead: Part | None = None  # what draws them where ``draw`` cannot


class Program(Protocol):
    """How joint draws are made, in as many parts as there are sites without a draw in common."""

    @property
    def tier(self) -> str:
        """What draws the first minibatch; every part says its own."""
        ...

    @property
    def chunk_bytes(self) -> int:
        """Bytes of random numbers made at once, which a run keeps to; 0: one draw at a time."""
        ...

    @property
    def workers(self) -> int:
        """Calls of ``draw`` that may run side by side."""
        ...

    def parts(self, minibatch: Minibatch, sites: Sequence[Site]) -> Sequence[Part]:
        """Parts that together draw ``sites``, each once; memory need hold one at a time."""
        ...

    def describe(self) -> str:
        """What is run, for a person to read."""
        ...


@dataclass(frozen=True)
class Segment:
    """Observations that are drawn, kept and gone on with as one.

    The first ones have the global sites: number 0 the small ones and the first columns of large ones.
    """

    number: int
    rows: tuple[int, int]  # first observation and the one behind the last, in the loader's order
    pieces: tuple[
        tuple[int, int, int], ...
    ]  # minibatch, its first row here, the one behind the last
    data_digest: str = ""  # of the minibatches it draws from; "" where none was taken

    @property
    def length(self) -> int:
        """Number of observations."""
        return self.rows[1] - self.rows[0]


@dataclass(frozen=True)
class SegmentResult:
    """All that one segment gives."""

    segment: Segment
    results: Results  # of its sites, the axis of the observations as long as the segment
    nonfinite: Mapping[str, int] = field(default_factory=dict)  # draws that are not, by site
    tiers: tuple[str, ...] = ()  # what drew its minibatches, each once
    partials: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)  # by reduction


class Reduction(Protocol):
    """What makes one small result of the draws of one site, over observations.

    It sees the rows of a segment piece by piece and gives arrays that are kept with the segment;
    whoever asks puts those of all segments together, in their order.
    """

    @property
    def name(self) -> str: ...

    @property
    def site(self) -> str: ...

    def update(
        self, state: dict[str, np.ndarray] | None, draws: torch.Tensor, axis: int | None, first: int
    ) -> dict[str, np.ndarray]:
        """Take some rows of a segment.

        Parameters
        ----------
        state
            What earlier rows of the segment gave; None: these are the first.
        draws
            ``(draw, *site shape)``.
        axis
            Axis of the observations, negative; None: a global site.
        first
            Number of the first observation among all.
        """
        ...


#: The partial results of a reduction by its name, in the order of segments.
Partials = Callable[[str], Iterator[Mapping[str, np.ndarray]]]


@dataclass(frozen=True)
class Finished:
    """What a store gives back once it has every segment."""

    results: Results  # local sites in the loader's order
    nonfinite: Mapping[str, int]  # by site, sites without any left out
    record: Mapping[str, Any]  # how the numbers were made: program, time, versions
    partials: Partials | None = None


class Store(Protocol):
    """Where results live while they grow: whole segments, in any order, from anyone."""

    def __enter__(self) -> Store: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None: ...

    @property
    def plan(self) -> RunPlan:
        """The plan of the run that it belongs to, as whoever was first began it."""
        ...

    def missing(self) -> frozenset[int]:
        """Numbers of the segments that are still to be written by anyone, as of now."""
        ...

    def write(self, result: SegmentResult) -> None:
        """Keep one segment. The same one may come again, with the same content."""
        ...

    def describe(self) -> str:
        """What is kept if the run ends now, and how to go on; empty where nothing is."""
        ...

    def partials(self, reduction: str) -> Iterator[Mapping[str, np.ndarray]]:
        """The partial results of one reduction, in the order of segments."""
        ...

    def finish(self, record: Callable[[], Mapping[str, Any]]) -> Finished:
        """Close, with the ``record`` of how it was made, and give all back; closed before: with that one."""
        ...
