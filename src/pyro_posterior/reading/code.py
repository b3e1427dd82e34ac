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
import sys
import sysconfig
from collections.abc import Container, Iterator, Mapping, Set
from enum import Enum
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch

from pyro_posterior.reading.states import state_of

_INSTALLED = tuple(
    sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")
)

#: Instructions that look a name up among the globals.
_LOADS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}

_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def code_words(value: Any, *, attributes: bool = False, elsewhere: Container[int] = ()) -> str:
    """Digest of a callable's code.

    Parameters
    ----------
    value
        A function, bound method, module or other object that can be called.
    attributes
        Take in all of an object's attributes, not only those that the code reads by name.
    elsewhere
        ``id`` of tensors that count elsewhere.
    """
    digest = hashlib.blake2b(digest_size=16)
    for word in _Walk(attributes, elsewhere).all_words(value):
        digest.update(word.encode() + b"|")
    return digest.hexdigest()


class _Walk:
    """Walks through everything a callable is made of, each thing visited once in each.

    Of objects, classes and modules of the caller's own, those attributes count that the code
    reached reads by name and does not set: walks are repeated until no new name is read.
    """

    def __init__(self, attributes: bool, elsewhere: Container[int]) -> None:
        self._attributes, self._elsewhere = attributes, elsewhere
        self._met: dict[int, Any] = {}  # keeps what was met alive, or ids could be used again
        self._read: set[str] = set()  # names of attributes in the code that is reached
        self._set: set[str] = set()
        self._reached = True
        self._looking = True

    def all_words(self, value: Any) -> Iterator[str]:
        """Words of what there is to say, once it is known which names are read."""
        known = -1
        while known != len(self._read) + len(self._set):
            known = len(self._read) + len(self._set)
            self._met.clear()
            for _ in self.words(value):
                pass
        self._met.clear()
        self._looking = False
        yield from self.words(value)

    def words(self, value: Any) -> Iterator[str]:
        if isinstance(value, _PLAIN):
            yield repr(value)
        elif isinstance(value, torch.Tensor | np.ndarray | np.generic):
            if self._looking or id(value) in self._elsewhere:
                yield "tensor"
            elif _numeric(value):
                yield tensor_words(_tensor(value))
            else:
                yield from self.words(value.tolist())
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
        if self._reached:
            self._read |= set(code.co_names)
            if code.co_name not in _MAKING:
                steps = dis.get_instructions(code)
                self._set |= {step.argval for step in steps if step.opname == "STORE_ATTR"}
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
            yield from self._subclass(value)
        elif isinstance(value, Mapping):
            yield "mapping"
            for key in sorted(value, key=_sorting):
                yield from self.words(key)
                yield from self.words(value[key])
            yield from self._subclass(value)
        elif isinstance(value, Set):
            for item in sorted(value, key=_sorting):
                yield from self.words(item)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, ModuleType):
            yield getattr(value, "__name__", "")
            if not _installed(getattr(value, "__file__", None) or ""):
                yield from self._named(vars(value))
        elif not isinstance(getattr(value, "__self__", None), ModuleType | type(None)):
            yield getattr(value, "__name__", "")  # a method of something built in
            yield from self.words(value.__self__)
        elif isinstance(value, BuiltinFunctionType):
            yield getattr(value, "__name__", "")
        else:
            named = getattr(value, "__qualname__", getattr(value, "__name__", ""))
            yield str(named)  # NumPy's functions are objects
            if callable(getattr(value, "__wrapped__", None)):  # `functools.lru_cache`
                yield from self.words(value.__wrapped__)
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
        yield from self._named(vars(function))

    def _class(self, cls: type) -> Iterator[str]:
        yield f"{cls.__module__}.{cls.__qualname__}" if _is_installed(cls) else cls.__qualname__
        if issubclass(cls, Enum):
            yield from self.words({member.name: member.value for member in cls})
        for base in cls.__mro__:
            if base.__module__ == "builtins" or _is_installed(base):
                continue
            for name, member in sorted(vars(base).items()):
                for held in ("__func__", "fget", "func"):  # of methods and properties
                    member = getattr(member, held, member)
                if isinstance(member, FunctionType):
                    yield name
                    before = self._reached
                    self._reached &= name in self._read or name in _ALWAYS
                    yield from self.words(member)
                    self._reached = before
                elif not isinstance(member, MemberDescriptorType | GetSetDescriptorType | property):
                    yield from self._named({name: member})

    def _instance(self, value: Any) -> Iterator[str]:
        """Functions and modules held by an object, and those of its attributes that count."""
        if isinstance(value, torch.nn.Module):
            for name, child in value._modules.items():
                yield name
                yield from self.words(child)
            yield from self._named({**value._buffers, **value._parameters})
        home = inspect.getmodule(type(value))
        built_in = home is not None and home.__name__ in sys.builtin_module_names
        if not built_in and not _is_installed(type(value)):
            yield from self._own(value)
            return
        for name in ("model", "fn"):  # an autoguide's model, what a handler wraps
            held = getattr(value, name, None)
            if callable(held):
                yield from self.words(held)
        if isinstance(value, torch.nn.Module):
            shown = {k: v for k, v in vars(value).items() if isinstance(v, _PLAIN) and k[0] != "_"}
            yield from self._named(shown)
        else:
            yield from self.words(state_of(value))

    def _subclass(self, value: Any) -> Iterator[str]:
        if type(value) not in (list, tuple, dict):
            yield from self._class(type(value))
            yield from self._own(value)

    def _own(self, value: Any) -> Iterator[str]:
        """Attributes of an object, in a dict or in slots."""
        slots = [name for base in type(value).__mro__ for name in vars(base).get("__slots__", ())]
        held = {name: getattr(value, name, None) for name in slots if isinstance(name, str)}
        yield from self._named({**held, **getattr(value, "__dict__", {})})

    def _named(self, held: Mapping[str, Any]) -> Iterator[str]:
        """Attributes that count: functions, and what is read by name; all where asked for."""
        for name, value in sorted(held.items()):
            if name in ("training", "_modules", "_parameters", "_buffers") or name[:2] == "__":
                continue
            code = isinstance(value, FunctionType | MethodType | functools.partial)
            if code or self._attributes or (name in self._read and name not in self._set):
                yield name
                yield from self.words(value)


#: Methods in which an object is given its attributes, which stay as they are from then on.
_MAKING = {"__init__", "__post_init__", "__new__", "__setstate__"}

#: Methods that are called without being named.
_ALWAYS = {"__call__", "forward", "__getitem__", "__iter__", "__len__", "__getattr__"}


def _sorting(value: Any) -> str:
    """Puts members of a set in an order that is the same in every process, or nearly all."""
    return repr(value) if isinstance(value, (*_PLAIN, tuple)) else type(value).__qualname__


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
