"""What makes a model this model: digests by part, so that two that differ can be told where.

The recorded run shows every operation, number and tensor that entered it, wherever it came from:
closures, attributes, buffers, globals. What a run on the first minibatch did not come by is in the
code. Where a model cannot be recorded, the attributes of its objects stand in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pyro
import torch
from torch.utils._pytree import tree_flatten

from pyro_posterior.reading.code import code_words, tensor_words
from pyro_posterior.sliced.tape import Record, Ref

#: What has the same ``repr`` in every process.
_PLAIN = (
    *(type(None), bool, int, float, complex, str),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)


def model_identity(
    model: Any, guide: Any, modules: Iterable[torch.nn.Module], record: Record | None
) -> dict[str, str]:
    """Digests of a model and its guide, the same in every process.

    Parameters
    ----------
    model, guide
        As they are called.
    modules
        Those behind model and guide; their parameters count elsewhere.
    record
        The recorded run on the first minibatch; None where it cannot be recorded.

    Returns
    -------
    dict
        By "model code", "guide code" and, of the recorded run, "operations" (with the numbers
        among their arguments) and "constants" (tensors that no operation made, parameters and
        data apart).
    """
    modules = list(modules)
    elsewhere = {id(x) for x in _parameters(modules)}
    elsewhere |= {id(x) for module in modules for x in module.parameters()}
    parts = {
        name: code_words(value, attributes=record is None, elsewhere=elsewhere)
        for name, value in (("model code", model), ("guide code", guide))
    }
    if record is not None:
        parts |= _of_record(record, modules)
    return parts


def _of_record(record: Record, modules: Iterable[torch.nn.Module]) -> dict[str, str]:
    tape = record.tape
    fitted = {x.untyped_storage().data_ptr() for x in _parameters(modules)}
    made = {uid: f"input{number}" for number, uid in enumerate(tape.inputs)}
    operations = hashlib.blake2b(digest_size=16)
    constants = hashlib.blake2b(digest_size=16)

    def words(x: Any) -> str:
        if not isinstance(x, Ref):
            return repr(x) if isinstance(x, _PLAIN) else type(x).__name__
        if x.uid not in made:
            leaf = tape.leaves[x.uid]
            made[x.uid] = f"leaf{len(made)}"
            home = tape.originals.get(x.uid, leaf)  # of a leaf that is held by its values
            if home.untyped_storage().data_ptr() not in fitted:
                constants.update(f"{made[x.uid]}{tensor_words(leaf)}".encode())
        return made[x.uid]

    for position, op in enumerate(tape.ops):
        key = "" if op.key is None else f"{op.key.site}#{op.key.count}"
        flat = " ".join(map(words, tree_flatten((op.args, op.kwargs))[0]))
        operations.update(f"{op.func} {key} {flat}\n".encode())
        for number, uid in enumerate(op.outs):
            if uid is not None:
                made.setdefault(uid, f"op{position}.{number}")
    for name, uid in sorted(record.outputs.items()):
        operations.update(f"{name} {words(Ref(uid))}\n".encode())
    return {"operations": operations.hexdigest(), "constants": constants.hexdigest()}


def _parameters(modules: Iterable[torch.nn.Module]) -> list[torch.Tensor]:
    found = [x for module in modules for x in module.state_dict().values()]
    found += [value for _, value in pyro.get_param_store().named_parameters()]
    return [x for x in found if isinstance(x, torch.Tensor) and x.layout == torch.strided]
