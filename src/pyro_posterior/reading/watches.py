"""What a run must not do unseen: change its data, draw by layers left in training mode."""

from __future__ import annotations

from typing import Any

from torch.overrides import TorchFunctionMode

from pyro_posterior.contracts import Minibatch
from pyro_posterior.errors import PosteriorError, RequestError
from pyro_posterior.keyed.modes import PlainMode
from pyro_posterior.sliced.signature import content_of, tensors_of
from pyro_posterior.sliced.tape import Record
from pyro_posterior.sliced.tensors import Leak, address, is_strided, written


class DataChanged(PosteriorError):
    """Model or guide is about to write to its arguments."""


class UnchangedData(PlainMode):
    """Raises `DataChanged` before an operation writes to a minibatch's tensors."""

    def __init__(self, minibatch: Minibatch) -> None:
        super().__init__()
        self._homes = {address(x) for x in tensors_of(minibatch) if is_strided(x)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if any(address(x) in self._homes for x in written(func, args, kwargs)):
            raise DataChanged
        return func(*args, **kwargs)


def check_data(record: Record) -> None:
    """Raise where a recorded run changed its data in a way that torch does not see.

    Raises
    ------
    RequestError
        Through NumPy, which had their memory.
    """
    tape = record.tape
    for op in tape.ops:
        if isinstance(op.func, Leak) and op.func.memory and op.ins[0] in tape.inputs:
            data = tape.leaves[op.ins[0]]
            if op.read != (content_of(data),):
                raise RequestError(
                    f"the model or guide changes its data, a tensor of shape {tuple(data.shape)}, "
                    f"through {op.func} ({op.line}), so every draw would be given other data: let it "
                    "change a copy, as in x.clone().numpy()"
                )


#: Functions that draw where they are told that they train: positions of how much, and of being told.
_DRAW_IN_TRAINING = {
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "native_dropout"), (1, 2)),
    **dict.fromkeys(("alpha_dropout", "feature_dropout", "feature_alpha_dropout"), (1, 2)),
    "rrelu": (2, 3),  # between two slopes
}


class NoTraining(TorchFunctionMode):
    """Raises where a function such as ``torch.nn.functional.dropout`` draws as it does in training."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").rstrip("_")
        if name in _DRAW_IN_TRAINING:
            amount_at, told_at = _DRAW_IN_TRAINING[name]
            amount = kwargs.get("p", args[amount_at] if amount_at < len(args) else 1.0)
            told = args[told_at] if told_at < len(args) else kwargs.get("train", False)
            if kwargs.get("training", told) and amount:
                raise RequestError(
                    f"the model or guide calls {name} with training=True (the default of "
                    "torch.nn.functional.dropout), which draws at random outside any site: pass "
                    "training=False, or the module's own training flag, which is False while "
                    "drawing; draw randomness that is meant with pyro.sample"
                )
        return func(*args, **kwargs)
