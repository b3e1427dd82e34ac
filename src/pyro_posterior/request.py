"""What the caller asked, once: every face of the library makes a `Request` and nothing else."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

import torch
from pyro.infer import SVI

from pyro_posterior.batches import check_batch_size
from pyro_posterior.contracts import Draws, Engine, Summaries
from pyro_posterior.data.arguments import ToArgs
from pyro_posterior.devices import all_devices
from pyro_posterior.errors import RequestError
from pyro_posterior.reductions.mcse import LENGTH, REPLICATES

#: Fewest hypercubes of `LENGTH` draws where an error is asked for.
FEWEST = 4

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Request:
    """The arguments of `pyro_posterior.sample_posterior`, which documents them, checked.

    This is the only place where they are spelled out: signatures are taken from here.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    data: Any
    _: KW_ONLY
    num_samples: int | Literal["auto"] = 1000
    return_sites: Iterable[str] | None = None
    exclude_sites: Iterable[str] | None = None
    obs_plate: str | None = None
    to_args: ToArgs | None = None
    batch_size: int | None = None
    accelerator: Any = "auto"
    device: int | str | torch.device | Sequence[int | str | torch.device] = "auto"
    return_observed: bool = False
    return_samples: bool = False
    summary_fun: Summaries | None = None
    seed: int | None = None
    engine: Engine = "auto"
    draws: Draws = "stratified"
    mcse: bool | float = False
    max_samples: int = 10_000
    store: str | Path | None = None
    overwrite: bool = False
    show_progress: bool = True
    coords: Mapping[str, Any] | None = None
    dims: Mapping[str, Sequence[str]] | None = None
    predictive: bool | Literal["new"] = False
    expected: bool = False
    do: Mapping[str, Any] | None = None
    derived: Mapping[str, Callable[[Mapping[str, Any]], Any]] | None = None
    grouped: Mapping[str, tuple[Any, ...]] | None = None
    log_likelihood: bool = False
    infer_discrete: bool | Literal["mode"] = False
    client: Any = None
    shard: tuple[int, int] | Literal["auto"] | None = None
    threads: int | None = None

    #: Sites that the guide lacks are drawn from the model without a word; a host may say so.
    model_draws: ClassVar[bool] = False

    #: Whether the host says that it was fitted.
    trained: ClassVar[bool] = False

    #: Names of observations, variables and factors that the host knows; see `labelled`.
    names: ClassVar[Mapping[str, Any] | None] = None

    def __post_init__(self) -> None:
        for name in ("model", "guide"):
            _check_function(name, getattr(self, name))
        if self.to_args is not None and not callable(self.to_args):
            raise RequestError(
                f"to_args must be a function from a batch to (args, kwargs), found {self.to_args!r}"
            )
        self._check_precision()
        if self.seed is not None:
            _check_whole("seed", self.seed)
        if self.draws not in ("stratified", "independent"):
            raise RequestError(
                f"draws={self.draws!r} is unknown: choose 'stratified' or 'independent'"
            )
        if self.threads is not None:
            _check_whole("threads", self.threads, least=1)
        check_batch_size(self.batch_size)
        if not self.devices:
            raise RequestError("device=[] names no device: give an index, a name, 'all' or 'auto'")
        if len(self.devices) > 1 and (self.client is not None or self.shard is not None):
            raise RequestError(
                f"device={self.device!r} divides the work over devices of this machine, client= and "
                "shard= over machines: give one of them (workers or shares have one device each)"
            )
        self._check_answers()
        if self.engine not in ("auto", "sliced", "loop"):
            raise RequestError(
                f"engine={self.engine!r} is unknown: choose 'auto', 'sliced' or 'loop'"
            )
        if self.shard is not None and self.store is None:
            raise RequestError(
                f"shard={self.shard!r} needs store=, a folder that all shares write to"
            )
        if self.shard is not None and self.client is not None:
            raise RequestError("shard= and client= both divide the work: give one of them")
        if self.shard is not None and self.overwrite:
            raise RequestError(
                "overwrite=True would let every share remove what the others wrote: remove the "
                "store first, or give another path"
            )

    def _check_answers(self) -> None:
        if self.predictive not in (True, False, "new"):
            raise RequestError(
                f"predictive={self.predictive!r} is unknown: choose True, False or 'new' (no latent "
                "variable of an observation is taken from the guide)"
            )
        if self.infer_discrete not in (True, False, "mode"):
            raise RequestError(
                f"infer_discrete={self.infer_discrete!r} is unknown: choose True, False or 'mode'"
            )
        if self.infer_discrete and self.log_likelihood:
            raise RequestError(
                "infer_discrete= and log_likelihood=True exclude each other: log densities given "
                "drawn discrete sites are not those of the model that sums them out"
            )
        for name in ("derived", "grouped", "do"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise RequestError(f"{name} must be a dict by name, found {value!r}")
        for name, function in (self.derived or {}).items():
            if not callable(function):
                raise RequestError(
                    f"derived[{name!r}] must be a function of a dict of site values, found "
                    f"{function!r}"
                )
        if self.do and self.log_likelihood:
            raise RequestError(
                "do= and log_likelihood=True exclude each other: the model that was "
                "fitted has no intervention"
            )

    def _check_precision(self) -> None:
        if self.num_samples != "auto":
            _check_whole("num_samples", self.num_samples, least=1)
        _check_whole("max_samples", self.max_samples, least=FEWEST * LENGTH)
        if isinstance(self.mcse, bool):
            if self.num_samples == "auto":
                raise RequestError(
                    "num_samples='auto' draws until errors are as small as mcse says: give, for "
                    "example, mcse=0.05, the largest error in units of the posterior's sd"
                )
            if self.mcse and self.num_samples < 2 * REPLICATES:
                raise RequestError(
                    f"mcse=True divides the draws into {REPLICATES} parts of two draws or more: "
                    f"num_samples must be at least {2 * REPLICATES}, found {self.num_samples}"
                )
            return
        if not isinstance(self.mcse, numbers.Real) or not 0 < self.mcse < math.inf:
            raise RequestError(f"mcse must be True, False or a number above 0, found {self.mcse!r}")
        if self.num_samples != "auto" and (
            self.num_samples % LENGTH or self.num_samples < FEWEST * LENGTH
        ):
            raise RequestError(
                f"mcse={self.mcse!r} is an error to be reached by as many draws as it takes: give "
                f"num_samples='auto', or a multiple of {LENGTH} from {FEWEST * LENGTH} on, found "
                f"{self.num_samples}"
            )
        if self.num_samples == "auto" and self.shard is not None:
            raise RequestError(
                "num_samples='auto' must see the errors of the whole run, of which a share has a "
                "part: find the number without shard=, then give it (posterior.plan.num_samples)"
            )

    @property
    def replicates(self) -> int:
        """Independent parts that the draws are divided into; 1 where no errors are asked for."""
        if isinstance(self.mcse, bool):
            return REPLICATES if self.mcse else 1
        assert self.num_samples != "auto"  # which runs of so many draws have settled
        return self.num_samples // LENGTH

    @property
    def is_divided(self) -> bool:
        """Whether other processes draw parts of it."""
        return self.client is not None or len(self.devices) > 1

    @property
    def devices(self) -> tuple[int | str | torch.device, ...]:
        """The devices asked for, one by one; a process draws on each where there are several."""
        if self.device == "all":
            return all_devices(self.accelerator)
        if isinstance(self.device, list | tuple):
            return tuple(self.device)
        return (self.device,)  # type: ignore[return-value]


@dataclass(frozen=True)
class HostRequest(Request):
    """What a host's method asks, with what only the host knows."""

    model_draws: bool = False  # type: ignore[misc]
    trained: bool = False  # type: ignore[misc]
    names: Mapping[str, Any] | None = None  # type: ignore[misc]


def takes_arguments_of(
    request: Callable[Asked, Request],
) -> Callable[[Callable[..., Answer]], Callable[Asked, Answer]]:
    """A function that passes all it is given to ``request``, with the signature of that."""

    def with_its_signature(function: Callable[..., Answer]) -> Callable[Asked, Answer]:
        taken = inspect.signature(request)
        returned = inspect.signature(function).return_annotation
        function.__signature__ = taken.replace(return_annotation=returned)  # type: ignore[attr-defined]
        return function

    return with_its_signature


def _check_function(name: str, value: Any) -> None:
    if inspect.isclass(value):
        raise RequestError(
            f"{name} is the class {value.__name__}: make one of it, such as AutoNormal(model) for a "
            "guide, and fit that"
        )
    if isinstance(value, SVI):
        raise RequestError(
            f"{name} is an SVI: pass what was fitted, sample_posterior(svi.model, svi.guide, data)"
        )
    if not callable(value):
        raise RequestError(f"{name} must be callable, found {value!r}")


def _check_whole(name: str, value: Any, least: int | None = None) -> None:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        none = "" if least is not None else " or None"
        raise RequestError(f"{name} must be a whole number{none}, found {value!r}")
    if least is not None and value < least:
        raise RequestError(f"{name} must be at least {least}, found {value}")
