"""Keyed draws put to use: a handler that names random operations, a mode that replaces them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_posterior.errors import RequestError
from pyro_posterior.keyed.keys import FREE, Key, Where
from pyro_posterior.keyed.rules import draw_one, is_random


class KeyNamer(Messenger):
    """Names the random operations of one sample: site, count within it, local or global.

    Enter it outside guide and model. ``is_local(site message)`` tells whether a site's draws differ
    between minibatches; draws outside any site count as local, and ``others`` gives those other
    numbers.
    """

    def __init__(self, is_local: Callable[[dict[str, Any]], bool], others: int = 0) -> None:
        super().__init__()
        self._is_local = is_local
        self._open: list[tuple[str, bool]] = []
        self._counts: dict[str, int] = {FREE: others << 32}

    def _pyro_sample(self, msg: Any) -> None:
        self._open.append((msg["name"], self._is_local(msg)))

    def _pyro_post_sample(self, msg: Any) -> None:
        self._open.pop()

    def next_key(self) -> Key:
        """Key of the random operation about to run."""
        site, local = self._open[-1] if self._open else (FREE, True)
        count = self._counts.get(site, 0)
        self._counts[site] = count + 1
        return Key(site, count, local)


class PlainMode(TorchDispatchMode):
    """A dispatch mode that does not make torch load its compiler, which takes about a second."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


#: Batch norms that change running statistics though their schema does not say so.
BATCH_NORMS = {
    getattr(torch.ops.aten, name).default
    for name in ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm")
}


def changes_statistics(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation is a batch norm in training mode that has running statistics."""
    return func in BATCH_NORMS and bool(args[5]) and args[3] is not None


class KeyedDraws(PlainMode):
    """Replaces every random operation by its keyed form, for the one draw of ``at``."""

    def __init__(self, namer: KeyNamer, at: Where) -> None:
        super().__init__()
        self._namer = namer
        self._at = at

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if changes_statistics(func, args):
            raise RequestError(
                "the model or guide calls torch.nn.functional.batch_norm with training=True, which "
                "would change the running statistics it is given: pass training=False, or the "
                "module's own training flag, which is False while drawing"
            )
        if not is_random(func, args, kwargs):
            return func(*args, **kwargs)
        return self.draw(func, self._namer.next_key(), args, kwargs)

    def draw(self, func: Any, key: Key, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The keyed value of one random operation."""
        return draw_one(func, key, self._at, args, kwargs)
