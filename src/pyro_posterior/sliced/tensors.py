"""What operations and tensors are to a tape: where memory lies, who writes to it, what is learnt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

#: How the output of an operation that gives one tensor is laid out.
LEAF = tree_flatten(0)[1]


def exchanged(tree: Any, other: Callable[[torch.Tensor], Any]) -> Any:
    """Arguments with something else for every tensor; as `tree_map`, several times faster."""
    if isinstance(tree, torch.Tensor):
        return other(tree)
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind([exchanged(part, other) for part in tree])
    if kind is dict:
        return {name: exchanged(part, other) for name, part in tree.items()}
    if tree is None or kind in _PLAIN:
        return tree
    return tree_map(lambda x: other(x) if isinstance(x, torch.Tensor) else x, tree)


_PLAIN = {bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, slice}


def tensors_in(tree: Any) -> Iterator[torch.Tensor]:
    """The tensors among arguments."""
    found: list[torch.Tensor] = []
    exchanged(tree, found.append)
    return iter(found)


def is_strided(tensor: torch.Tensor) -> bool:
    """Whether a tensor has memory of the common kind; a sparse one has several pieces."""
    return tensor.layout is torch.strided


def address(tensor: torch.Tensor) -> int:
    """A number that tensors share which lie in one memory."""
    return int(tensor.untyped_storage()._cdata) if is_strided(tensor) else -id(tensor)


#: Memory of NumPy's and others' is copied where a model uses it as a constant, up to this size.
MOST_COPIED_BYTES = 64 << 20


def is_foreign(tensor: torch.Tensor) -> bool:
    """Whether others than torch own the memory, who may write to it unseen."""
    if (
        not is_strided(tensor)
        or not 0 < tensor.numel() * tensor.element_size() <= MOST_COPIED_BYTES
    ):
        return False
    return tensor.device.type == "cpu" and not tensor.untyped_storage().resizable()


def span(tensor: torch.Tensor) -> tuple[int, int]:
    """Where the memory of a tensor begins and ends; (0, 0) where that cannot be said."""
    if not is_strided(tensor):
        return 0, 0
    held = tensor.untyped_storage()
    try:
        return held.data_ptr(), held.data_ptr() + held.nbytes()
    except RuntimeError:  # zeros that nobody has made yet, as derivatives are before the first
        return 0, 0


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """Arguments that an operation writes in place, ``out=`` among them."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return list(getattr(func, "writes", lambda args: [])(args))
    found: list[torch.Tensor] = []
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            found += tensors_in(given)
    return found


#: Operations that give Python a number about shapes and memory, not about values.
LOOKS_AT_FORM = {
    torch.ops.aten._has_same_storage_numel.default,
    torch.ops.aten.is_same_size.default,
}
_SHAPED_BY_VALUES = {torch.ops.aten._pack_padded_sequence.default}


def shaped_by_values(func: Any) -> bool:
    """Whether the shape of a result depends on values."""
    if func is torch.ops.aten.index.Tensor:
        return False  # no mask among the indices
    tagged = torch.Tag.dynamic_output_shape in getattr(func, "tags", ())
    return tagged or func in _SHAPED_BY_VALUES


class Leak:
    """Stands for a function through which Python read a tensor unseen."""

    tags = ()

    def __init__(self, name: str, memory: bool) -> None:
        self.name = name
        self.memory = memory  # Python now holds the tensor's memory, and could change it unseen

    def __repr__(self) -> str:
        return self.name
