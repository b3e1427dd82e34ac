"""A graph's code with constants that can be exchanged for others of the same form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx


class Constants:
    """The tensors that a graph's code reads as ``self.constant0`` and so on."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        vars(self).update(tensors)


@dataclass(frozen=True)
class Compute:
    """``compute(*inputs)``, the outputs of a graph."""

    graph: fx.Graph
    code: str
    constants: Constants
    origins: Mapping[str, int | None]  # by constant: its number on the tape of the slice
    _forward: Callable[..., Any]

    def __call__(self, *inputs: Any) -> Any:
        return self._forward(self.constants, *inputs)

    def tensors(self) -> list[torch.Tensor]:
        """The constants."""
        return list(vars(self.constants).values())

    def with_constants(self, tensors: Mapping[str, torch.Tensor]) -> Compute:
        """The same code on other constants."""
        return replace(self, constants=Constants(tensors))


def compute(
    graph: fx.Graph, root: torch.nn.Module, origins: Mapping[str, int | None] | None = None
) -> Compute:
    """From a graph, and the module that holds its constants as buffers."""
    module = fx.GraphModule(root, graph)
    names = dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "get_attr")
    tensors = {name: getattr(module, name) for name in names}
    for name in tensors:  # the graph keeps its module alive, which would keep them
        delattr(module, name)
    used = {name: (origins or {}).get(name) for name in tensors}
    return Compute(module.graph, module.code, Constants(tensors), used, type(module).forward)
