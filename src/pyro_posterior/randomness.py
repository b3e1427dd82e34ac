"""Keyed randomness: every random operation draws from a generator seeded by what it is.

The key is (seed, site, how-manieth random operation in that site, slab or draw, minibatch or
"global"). Globals are therefore the same behind all minibatches without being sent anywhere, and
work can be cut anywhere. Two kinds of operations:

* *fills* use up the generator by shape alone (normals, uniforms, ...): a slab of `SLAB` draws comes
  from one generator, and a single draw is its row of the slab;
* *samplers* use it up by value (gamma, Poisson, ...): every draw has a generator of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from pyro_posterior.errors import CannotSliceError

#: Draws that share one generator in a fill. Part of the definition of the numbers: never change it.
SLAB = 8

#: Name of draws made outside any ``pyro.sample`` statement.
FREE = "<free>"


@dataclass(frozen=True)
class Key:
    """Which random operation of a sample this is; the same in every draw and engine."""

    site: str
    count: int
    local: bool  # differs between minibatches

    def seed(self, seed: int, unit: str, minibatch: int) -> int:
        """63-bit seed of the generator for one slab or draw (``unit``)."""
        where = str(minibatch) if self.local else "global"
        text = f"{seed}|{self.site}|{self.count}|{unit}|{where}"
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 1


_generators = threading.local()


def _generator(seed: int, device: torch.device) -> torch.Generator:
    """This thread's generator on ``device``, seeded anew."""
    held = _generators.__dict__.setdefault("by_device", {})
    if device not in held:
        held[device] = torch.Generator(device)
    generator: torch.Generator = held[device]
    return generator.manual_seed(seed)


# ---------------------------------------------------------------------------------------- random ops

# In-place fills with scalar parameters, and the factories that amount to one.
_FILLS = {"normal_", "uniform_", "exponential_", "cauchy_", "log_normal_", "geometric_", "random_"}
_FACTORIES = {
    "randn": "normal_",
    "rand": "uniform_",
    "randn_like": "normal_",
    "rand_like": "uniform_",
}
_SAMPLERS = {"_standard_gamma", "_sample_dirichlet", "poisson", "binomial", "multinomial"}


def is_random(func: Any) -> bool:
    """Whether an ATen operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags


def draws_nothing(func: Any, args: tuple[Any, ...]) -> bool:
    """Dropout out of training carries the tag of a random operation and draws nothing."""
    return func is torch.ops.aten.native_dropout.default and not args[2]


def _op_name(func: Any) -> str:
    return str(func._schema.name).split("::")[1]


def _batch_shape(args: Any, kwargs: Any) -> tuple[torch.Tensor | None, torch.device]:
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.Tensor):
            return value, value.device
    return None, torch.device(kwargs.get("device") or "cpu")


def draw_many(
    func: Any,
    key: Key,
    seed: int,
    start: int,
    count: int,
    minibatch: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Draws ``start .. start + count`` of one random operation, the draw axis in front.

    Tensors among ``args`` carry the draw axis in front already (length ``count``); sizes of
    factories do not. ``start`` and ``count`` are multiples of `SLAB`. An in-place operation fills
    its first argument and returns it.
    """
    name = _op_name(func)
    kwargs = {k: v for k, v in kwargs.items() if k != "generator"}
    _, device = _batch_shape(args, kwargs)

    def slabs() -> Iterator[tuple[slice, torch.Generator]]:
        for low in range(0, count, SLAB):
            unit = f"slab{(start + low) // SLAB}"
            yield (
                slice(low, low + SLAB),
                _generator(key.seed(seed, unit, minibatch), device),
            )

    def rows() -> Iterator[tuple[int, torch.Generator]]:
        for row in range(count):
            unit = f"draw{start + row}"
            yield row, _generator(key.seed(seed, unit, minibatch), device)

    if name in _FILLS:
        target, rest = args[0], args[1:]
        if not target.is_contiguous():
            filled = torch.empty(target.shape, dtype=target.dtype, device=target.device)
        else:
            filled = target
        for part, generator in slabs():
            getattr(filled[part], name)(*rest, generator=generator, **kwargs)
        return target if filled is target else target.copy_(filled)
    if name in _FACTORIES:
        if name.endswith("_like"):
            shape, dtype = tuple(args[0].shape), kwargs.get("dtype") or args[0].dtype
        else:
            shape, dtype = (count, *args[0]), kwargs.get("dtype") or torch.get_default_dtype()
        out = torch.empty(shape, dtype=dtype, device=device)
        for part, generator in slabs():
            getattr(out[part], _FACTORIES[name])(generator=generator)
        return out
    if name in {"normal", "normal_functional"}:
        mean, std = (*args, kwargs.get("std", 1.0))[:2]
        if func._overloadname == "float_float":
            shape = (count, *args[2])
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
        else:
            given = [x for x in (mean, std) if isinstance(x, torch.Tensor)]
            dim = max(x.dim() for x in given)
            mean, std = (_align(x, dim) for x in (mean, std))
            given = [x for x in (mean, std) if isinstance(x, torch.Tensor)]
            shape = tuple(torch.broadcast_shapes(*(x.shape for x in given)))
            dtype = given[0].dtype
        out = torch.empty(shape, dtype=dtype, device=device)
        for part, generator in slabs():
            out[part].normal_(generator=generator)
        return out.mul_(std).add_(mean)
    if name in {"bernoulli", "bernoulli_"}:
        # The dispatcher leaves out arguments that have their default, p = 0.5 of `bernoulli_`.
        default = args[0] if name == "bernoulli" else 0.5
        probs = args[1] if len(args) > 1 else kwargs.get("p", default)
        target = args[0]
        if isinstance(probs, torch.Tensor):
            probs = _align(probs, target.dim())
        out = torch.empty(target.shape, dtype=_uniform_dtype(probs, target), device=device)
        for part, generator in slabs():
            out[part].uniform_(generator=generator)
        hits = out < probs
        if name == "bernoulli_":
            return target.copy_(hits)
        return hits.to(target.dtype)
    if name == "randint":
        bounds, size = args[:-1], args[-1]
        options = {k: kwargs[k] for k in ("dtype", "device") if kwargs.get(k) is not None}
        out = torch.empty((count, *size), **{"dtype": torch.long, **options})
        low, high = bounds if len(bounds) == 2 else (0, bounds[0])
        for part, generator in slabs():
            out[part] = torch.randint(
                low, high, tuple(out[part].shape), generator=generator, **options
            )
        return out
    if name == "randperm":
        options = {k: kwargs[k] for k in ("dtype", "device") if kwargs.get(k) is not None}
        return torch.stack(
            [torch.randperm(args[0], generator=generator, **options) for _, generator in rows()]
        )
    if name in _SAMPLERS:
        if name == "binomial":
            dim = max(x.dim() for x in args[:2])
            args = (*(_align(x, dim) for x in args[:2]), *args[2:])
            shape = torch.broadcast_shapes(*(x.shape for x in args[:2]))
            args = (*(x.expand(shape) for x in args[:2]), *args[2:])
        drawn = [
            func(
                *(x[row] if isinstance(x, torch.Tensor) else x for x in args),
                **kwargs,
                generator=generator,
            )
            for row, generator in rows()
        ]
        return torch.stack(drawn)
    raise CannotSliceError(
        f"the random operation {func} (in site {key.site!r}) has no keyed form in this version; "
        "please report it with the model"
    )


def _uniform_dtype(probs: Any, target: torch.Tensor) -> torch.dtype:
    if isinstance(probs, torch.Tensor) and probs.is_floating_point():
        return probs.dtype
    return target.dtype if target.is_floating_point() else torch.get_default_dtype()


def _align(value: Any, dim: int) -> Any:
    """Insert axes behind the draw axis so that the rest lines up from the right."""
    if not isinstance(value, torch.Tensor) or value.dim() == dim:
        return value
    missing = dim - value.dim()
    return value.reshape(value.shape[0], *(1,) * missing, *value.shape[1:])


def draw_one(
    func: Any,
    key: Key,
    seed: int,
    draw: int,
    minibatch: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """What draw number ``draw`` gets: its row of the slab, by the same code that makes slabs."""
    start = draw - draw % SLAB
    row = draw - start
    name = _op_name(func)
    if name in _SAMPLERS:
        generator = _generator(key.seed(seed, f"draw{draw}", minibatch), args[0].device)
        kwargs = {k: v for k, v in kwargs.items() if k != "generator"}
        if name == "binomial":
            args = (*torch.broadcast_tensors(*args[:2]), *args[2:])
        return func(*args, **kwargs, generator=generator)
    if name.endswith("_"):  # in place: fill a slab of its own, then copy the row
        target = args[0]
        slab = torch.empty((SLAB, *target.shape), dtype=target.dtype, device=target.device)
        rest = tree_map(_slab_of, args[1:])
        many = draw_many(func, key, seed, start, SLAB, minibatch, (slab, *rest), kwargs)
        return target.copy_(many[row])
    many = draw_many(
        func,
        key,
        seed,
        start,
        SLAB,
        minibatch,
        tree_map(_slab_of, args),
        tree_map(_slab_of, kwargs),
    )
    return many[row].clone()


def _slab_of(value: Any) -> Any:
    return value.expand(SLAB, *value.shape) if isinstance(value, torch.Tensor) else value


# ------------------------------------------------------------------------------------------- modes


class KeyNamer(Messenger):
    """Names the random operations of one sample: site, count within it, local or global.

    Enter it outside guide and model. ``is_local(site message)`` tells whether a site's draws differ
    between minibatches; draws outside any site count as local.
    """

    def __init__(self, is_local: Callable[[dict[str, Any]], bool]) -> None:
        super().__init__()
        self._is_local = is_local
        self._open: list[tuple[str, bool]] = []
        self._counts: dict[str, int] = {}

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


class KeyedDraws(PlainMode):
    """Replaces every random operation by its keyed form, for draw number ``draw``."""

    def __init__(self, namer: KeyNamer, seed: int, draw: int, minibatch: int) -> None:
        super().__init__()
        self._namer = namer
        self._where = (seed, draw, minibatch)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not is_random(func) or draws_nothing(func, args):
            return func(*args, **kwargs)
        return self.draw(func, self._namer.next_key(), args, kwargs)

    def draw(self, func: Any, key: Key, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The keyed value of one random operation."""
        seed, draw, minibatch = self._where
        return draw_one(func, key, seed, draw, minibatch, args, kwargs)


# ------------------------------------------------------------------------------ the caller's state


@contextlib.contextmanager
def untouched_random_state() -> Iterator[None]:
    """Put torch's (all devices), NumPy's and Python's random states back on leaving."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def random_states() -> tuple[Any, ...]:
    """Python's, NumPy's and torch's states in a form that ``==`` compares."""
    state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = state
    torch_state = torch.get_rng_state().numpy().tobytes()
    return random.getstate(), name, keys.tobytes(), tuple(rest), torch_state


def fresh_seed() -> int:
    """A seed from the operating system, below 2**53 so that it survives JSON."""
    return random.SystemRandom().randrange(2**53)
