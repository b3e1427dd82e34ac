"""A random model drawn by the loop and by the sliced program, and its sites computed again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from random_models import Case

from pyro_posterior import sample_posterior

#: Relative tolerance, and absolute tolerance relative to the usual size of a site's values.
RELATIVE, NEAR_ZERO = 2e-4, 2e-5


@dataclass(frozen=True)
class Outcome:
    """What came of a case: differences found (none is right), what drew, and why not faster."""

    differences: tuple[str, ...]
    tier: str
    reason: str


class _Reasons(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("drawing"):
            self.lines.append(record.getMessage())


def outcome(case: Case) -> Outcome:
    """Draw a case by both engines and compare everything."""
    logger, reasons = logging.getLogger("pyro_posterior"), _Reasons()
    options: dict[str, Any] = {
        "num_samples": case.num_samples,
        "batch_size": case.batch_size,
        "obs_plate": "obs",
        "seed": case.number,
        "return_samples": True,
        "show_progress": False,
    }
    loop = sample_posterior(case.model, case.guide, case.data, engine="loop", **options)
    level = logger.level
    logger.addHandler(reasons)
    logger.setLevel(logging.INFO)
    try:
        auto = sample_posterior(case.model, case.guide, case.data, **options)
    finally:
        logger.removeHandler(reasons)
        logger.setLevel(level)
    found = [
        *differences(loop["posterior_samples"], auto["posterior_samples"]),
        *_computed_again(case, auto["posterior_samples"]),
    ]
    return Outcome(tuple(found), auto.plan.engine, "; ".join(reasons.lines))


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Sites of which any draw of any value is another."""
    if list(one) != list(other):
        return [f"sites {list(one)} and {list(other)}"]
    return [name for name in one if not close(one[name], other[name])]


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal but for rounding, element by element."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = one.astype(float), other.astype(float)
    finite = np.isfinite(one)
    if not np.array_equal(one[~finite], other[~finite], equal_nan=True):
        return False
    one, other = one[finite], other[finite]
    size = np.abs(one)
    usual = float(np.median(size[size > 0])) if (size > 0).any() else 0.0
    return bool((np.abs(one - other) <= RELATIVE * size + NEAR_ZERO * usual).all())


def _computed_again(case: Case, draws: dict[str, np.ndarray]) -> list[str]:
    """Deterministic sites of a few draws, from the model with the returned latents put in."""
    rows, found = len(case.data[0]), []
    step = case.batch_size or rows
    for number in sorted({0, case.num_samples // 2, case.num_samples - 1}):
        for low in range(0, rows, step):
            args = tuple(value[low : low + step] for value in case.data)
            given = {}
            for name, values in draws.items():
                value = torch.as_tensor(values[number])
                if name.startswith("z"):
                    local = value.dim() == 2
                    given[name] = value[low : low + step] if local else value
            with torch.no_grad(), pyro.validation_enabled(False):
                trace = poutine.trace(poutine.condition(case.model, given)).get_trace(*args)
            for name, values in draws.items():
                if name.startswith("z"):
                    continue
                again = trace.nodes[name]["value"].numpy()
                whole = values[number]
                local = trace.nodes[name]["cond_indep_stack"]
                part = whole[low : low + step] if local else whole
                if not close(again, part):
                    found.append(f"{name} of draw {number}, rows {low}, computed again")
    return found
