"""What operations and tensors are to a tape: where memory lies, who writes to it, what is learnt."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_flatten


def is_strided(tensor: torch.Tensor) -> bool:
    """Whether a tensor has memory of the common kind; a sparse one has several pieces."""
    return tensor.layout is torch.strided


def address(tensor: torch.Tensor) -> int:
    """A number that tensors share which lie in one memory."""
    return int(tensor.untyped_storage()._cdata) if is_strided(tensor) else -id(tensor)


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
    found = []
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[position] if position < len(args) else kwargs.get(argument.name)
            found += [x for x in tree_flatten(given)[0] if isinstance(x, torch.Tensor)]
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
