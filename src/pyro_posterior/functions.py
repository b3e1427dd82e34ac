"""The function that ``module:function`` or ``file.py:function`` names, without opening doors.

The current folder and the folder of a file are places to find a user's own modules in. They come
after the installed packages, so that a ``zarr.py`` that happens to lie there is never run in place
of the package; while a file itself is run, its folder comes first, as in ``python file.py``.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pyro_posterior.errors import RequestError

#: Modules that only this process knows: other processes are sent what is in them.
OWN_MODULES: dict[str, ModuleType] = {}


def find_function(text: str) -> Callable[..., Any]:
    """The function that ``module:function`` or ``file.py:function`` names.

    Raises
    ------
    RequestError
        No such module, file or function.
    """
    where, colon, name = text.rpartition(":")
    if not colon or not where or not name:
        raise RequestError(
            f"{text!r} is neither a directory nor of the form module:function or file.py:function"
        )
    module = module_of_file(Path(where)) if where.endswith(".py") else module_named(where)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        public = sorted(key for key, value in vars(module).items() if callable(value))
        public = [key for key in public if not key.startswith("_")]
        shown = difflib.get_close_matches(name, public, 5) if len(public) > 20 else public
        more = " (and others)" if len(public) > len(shown) else ""
        raise RequestError(
            f"{where} has no function {name!r}; it has: {', '.join(shown) or 'none'}{more}"
        )
    function: Callable[..., Any] = found
    return function


def module_named(name: str) -> ModuleType:
    """An installed module, or else one of the current folder.

    Raises
    ------
    RequestError
        There is none of that name.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise RequestError(f"{name!r} is no name of a module; a file's name ends in .py")
    root = name.partition(".")[0]
    own = not _is_known(root)
    if own and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
        importlib.invalidate_caches()
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise RequestError(
            f"there is no module {name!r} in the current folder or among the installed ones"
        ) from error
    if own:
        OWN_MODULES[name] = found
    return found


def module_of_file(path: Path) -> ModuleType:
    """A file, run as a module of its own.

    Raises
    ------
    RequestError
        There is no such file.
    """
    path = path.expanduser()
    if not path.is_file():
        raise RequestError(f"there is no file {str(path)!r}")
    # Under a name of its own where a package or an earlier file goes by the file's.
    name = f"__{path.stem}__" if _is_known(path.stem) else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = OWN_MODULES[name] = module
    with _first(str(path.parent.resolve())):
        spec.loader.exec_module(module)
    return module


def _is_known(root: str) -> bool:
    if root in sys.modules:
        return True
    try:
        return importlib.util.find_spec(root) is not None
    except ValueError:  # a module that was made by hand
        return True


@contextlib.contextmanager
def _first(folder: str) -> Iterator[None]:
    """``folder`` is the first place to look for modules, and the last one afterwards."""
    if folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)
