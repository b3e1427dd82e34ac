"""Words for code: what a function says and calls, the same in every process.

Functions of installed packages go by their names and the packages' own versions are not looked at;
the caller's own go by their instructions, constants, defaults, what they close over, and the global
functions and values that they name.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import sysconfig
from collections.abc import Iterator, Mapping, Set
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

_INSTALLED = tuple(
    sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")
)

#: Instructions that look a name up among the globals.
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def code_words(value: Any, *, attributes: bool = False) -> str:
    """Digest of a callable's code.

    Parameters
    ----------
    value
        A function, bound method, module or other object that can be called.
    attributes
        Also take in numbers, texts, tensors and arrays among an object's attributes.
    """
    digest = hashlib.blake2b(digest_size=16)
    for word in _Walk(attributes).words(value):
        digest.update(word.encode() + b"|")
    return digest.hexdigest()


class _Walk:
    """One walk through everything a callable is made of; each thing is visited once."""

    def __init__(self, attributes: bool) -> None:
        self._attributes = attributes
        self._met: dict[int, Any] = {}  # keeps what was met alive, or ids could be used again

    def words(self, value: Any) -> Iterator[str]:
        if isinstance(value, _PLAIN):
            yield repr(value)
        elif isinstance(value, torch.Tensor | np.ndarray | np.generic):
            yield tensor_words(_tensor(value)) if _numeric(value) else repr(value)
        elif isinstance(value, CodeType):
            yield from self._code(value)
        elif id(value) in self._met:
            yield "again"
        else:
            self._met[id(value)] = value
            yield from self._object(value)

    def _code(self, code: CodeType) -> Iterator[str]:
        yield code.co_code.hex()
        yield " ".join((*code.co_names, *code.co_varnames))
        for constant in code.co_consts:
            yield from self.words(constant)

    def _object(self, value: Any) -> Iterator[str]:
        if isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                yield from self.words(part)
        elif isinstance(value, MethodType):
            yield from self.words(value.__func__)
            yield from self.words(value.__self__)
        elif isinstance(value, FunctionType):
            if _installed(value.__code__.co_filename):
                yield f"{value.__module__}.{value.__qualname__}"
            else:  # a file may be loaded under another module's name the next time
                yield value.__qualname__
                yield from self._function(value)
        elif isinstance(value, list | tuple):
            yield type(value).__name__
            for item in value:
                yield from self.words(item)
        elif isinstance(value, Mapping):
            yield "mapping"
            for key in sorted(value, key=repr):
                yield repr(key) if isinstance(key, _PLAIN) else type(key).__qualname__
                yield from self.words(value[key])
        elif isinstance(value, Set):
            yield from sorted(repr(item) for item in value if isinstance(item, _PLAIN))
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, ModuleType | BuiltinFunctionType):
            yield getattr(value, "__name__", "")
        else:
            named = getattr(value, "__qualname__", getattr(value, "__name__", ""))
            yield str(named)  # NumPy's functions are objects
            yield from self._class(type(value))
            yield from self._instance(value)

    def _function(self, function: FunctionType) -> Iterator[str]:
        yield from self.words(function.__code__)
        yield from self.words(function.__defaults__)
        yield from self.words(function.__kwdefaults__)
        yield from self.words(getattr(function, "__wrapped__", None))
        for cell in function.__closure__ or ():
            try:
                yield from self.words(cell.cell_contents)
            except ValueError:  # not filled yet
                yield "empty"
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                yield name
                yield from self.words(function.__globals__[name])

    def _class(self, cls: type) -> Iterator[str]:
        yield f"{cls.__module__}.{cls.__qualname__}" if _is_installed(cls) else cls.__qualname__
        for base in cls.__mro__:
            if base.__module__ == "builtins" or _is_installed(base):
                continue
            for name, member in sorted(vars(base).items()):
                member = getattr(member, "__func__", getattr(member, "fget", member))
                plain = self._attributes and isinstance(member, _PLAIN)
                if isinstance(member, FunctionType) or (plain and not name.startswith("__")):
                    yield name
                    yield from self.words(member)

    def _instance(self, value: Any) -> Iterator[str]:
        """Functions and modules held by an object, and its plain attributes where asked for."""
        if isinstance(value, torch.nn.Module):
            for name, child in value._modules.items():
                yield name
                yield from self.words(child)
        if _is_installed(type(value)):
            for name in ("model", "fn"):  # an autoguide's model, what a handler wraps
                held = getattr(value, name, None)
                if callable(held):
                    yield from self.words(held)
            return
        for name, held in sorted(getattr(value, "__dict__", {}).items()):
            if name == "training" or name.startswith("__"):
                continue
            code = isinstance(held, FunctionType | MethodType | functools.partial)
            plain = isinstance(held, (*_PLAIN, torch.Tensor, np.ndarray, np.generic))
            if code or (plain and self._attributes):
                yield name
                yield from self.words(held)


def _names(code: CodeType) -> set[str]:
    """Global names that code and the functions inside it use; attributes are no names."""
    own = {step.argval for step in dis.get_instructions(code) if step.opname in _LOADS}
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return own.union(*inner)


def _is_installed(cls: type) -> bool:
    """Whether a class is a package's. One of a script was sent to a process that runs another one."""
    if cls.__module__ in ("__main__", "__mp_main__"):
        return False
    return _installed(getattr(inspect.getmodule(cls), "__file__", None) or "")


def _installed(file: str) -> bool:
    return file.startswith(_INSTALLED) or file.startswith("<frozen")


def _tensor(value: Any) -> torch.Tensor:
    """A tensor of a tensor, an array or one of its numbers, however large."""
    return torch.as_tensor(np.asarray(value) if isinstance(value, np.generic) else value)


def _numeric(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or value.dtype.kind in "biufc"


def tensor_words(value: torch.Tensor) -> str:
    """Digest of a tensor's type, shape and values, wherever it is."""
    value = value.detach()
    digest = hashlib.blake2b(f"{value.dtype}{tuple(value.shape)}".encode(), digest_size=16)
    if value.layout != torch.strided:
        value = value.to_dense()
    value = value.cpu().resolve_conj().resolve_neg()
    if value.numel():
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
