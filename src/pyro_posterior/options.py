"""Keywords of the mixin's method beside the documented ones, for type checkers and editors.

They are the fields of `Request`, with its types (a test compares them), and the method's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from pyro_posterior.contracts import Draws, Engine


class Options(TypedDict, total=False):
    """What ``**sample_kwargs`` of `PyroSampleMixin.sample_posterior` may hold."""

    model: Callable[..., Any] | None
    use_gpu: bool | int | str | None
    exclude_vars: Iterable[str] | None
    exclude_sites: Iterable[str] | None
    seed: int | None
    engine: Engine
    draws: Draws
    mcse: bool | float
    max_samples: int
    store: str | Path | None
    overwrite: bool
    show_progress: bool
    coords: Mapping[str, Any] | None
    dims: Mapping[str, Sequence[str]] | None
    predictive: bool | Literal["new"]
    expected: bool
    do: Mapping[str, Any] | None
    derived: Mapping[str, Callable[[Mapping[str, Any]], Any]] | None
    grouped: Mapping[str, tuple[Any, ...]] | None
    log_likelihood: bool
    infer_discrete: bool | Literal["mode"]
    client: Any
    shard: tuple[int, int] | Literal["auto"] | None
    threads: int | None
