"""What makes a result doubtful though the call goes on: NaN in the data, guides not made ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer.autoguide import AutoLaplaceApproximation
from torch.utils._pytree import tree_flatten

from pyro_posterior.contracts import Minibatch
from pyro_posterior.warn import warn


@dataclass
class MissingData:
    """Counts NaN in minibatches as they are drawn for, and says so once."""

    values: int = 0
    minibatches: int = 0

    def see(self, minibatch: Minibatch) -> None:
        """Count the NaN in the arguments of one minibatch."""
        given = tree_flatten((minibatch.args, dict(minibatch.kwargs)))[0]
        found = sum(
            _count_nan(value)
            for value in given
            if isinstance(value, torch.Tensor) and value.layout is torch.strided
            if value.dtype.is_floating_point
        )
        self.values += found
        self.minibatches += found > 0

    def tell(self) -> None:
        """Warn where there were any."""
        if self.values:
            warn(
                f"the data have {self.values} values that are NaN, in {self.minibatches} of the "
                "minibatches: draws of what depends on them are NaN too, unless the model masks "
                "them"
            )


def _count_nan(value: torch.Tensor) -> int:
    """How many there are; a sum, which takes a fraction of the time, tells that there are none."""
    return int(torch.isnan(value).sum()) if bool(torch.isnan(value.sum())) else 0


def warn_of_laplace(guide: Any) -> None:
    """Warn of a Laplace guide whose normal has not been made of its mode."""
    parts = guide.modules() if isinstance(guide, torch.nn.Module) else ()
    if any(isinstance(part, AutoLaplaceApproximation) for part in parts):
        warn(
            "the guide is an AutoLaplaceApproximation, which draws its mode alone, without any "
            "spread: pass guide.laplace_approximation(*args), the normal around it, instead"
        )
