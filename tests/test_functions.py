"""``module:function`` finds what was meant, and a stray file never stands in for a package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyro_posterior.errors import RequestError
from pyro_posterior.functions import find_function

PRINTS = "print('CODE OF THIS FOLDER')\n"


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints whose ``sys.path`` does not begin with its folder."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["tqdm", "colorsys"])  # installed, and of Python itself
def test_a_file_of_the_current_folder_never_hides_a_package(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(PRINTS)
    printed = python(
        "from pyro_posterior.functions import find_function\n"
        "find_function('numpy:median')\n"
        f"import {package}, os, sys\n"
        "print('' in sys.path or os.getcwd() in sys.path)",
        tmp_path,
    )
    assert printed == "False\n"


def test_a_module_of_the_current_folder_is_found_after_the_installed_ones(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import colorsys\ndef f(): return colorsys.__file__\n")
    (tmp_path / "colorsys.py").write_text(PRINTS)
    printed = python(
        "from pyro_posterior.functions import find_function\nprint(find_function('mine:f')())",
        tmp_path,
    )
    assert "CODE" not in printed
    assert str(tmp_path) not in printed


def test_a_file_may_import_its_neighbours_now_and_later(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "beside_it.py").write_text("first = 1\n")
    (folder / "called_later.py").write_text("second = 2\n")
    (folder / "fit.py").write_text(
        "from beside_it import first\n"
        "def both():\n    from called_later import second\n    return first + second\n"
    )
    printed = python(
        "import sys\n"
        "from pyro_posterior.functions import find_function\n"
        "print(find_function('there/fit.py:both')(), sys.path[-1].endswith('there'))",
        tmp_path,
    )
    assert printed == "3 True\n"


def test_a_file_named_like_a_package_leaves_the_package_alone(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("def f(): return 'mine'\n")
    printed = python(
        "from pyro_posterior.functions import find_function\n"
        "print(find_function('colorsys.py:f')())\n"
        "import colorsys\nprint(hasattr(colorsys, 'rgb_to_hsv'))",
        tmp_path,
    )
    assert printed == "mine\nTrue\n"


def test_attributes_of_attributes() -> None:
    assert find_function("pathlib:Path.cwd")() == Path.cwd()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere", "neither a directory nor of the form module:function"),
        (":f", "neither a directory nor of the form module:function"),
        ("json:", "neither a directory nor of the form module:function"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("some/path:f", "'some/path' is no name of a module"),
        ("no_such_file.py:f", "no file 'no_such_file.py'"),
        ("json:loadz", "json has no function 'loadz'; it has: .*loads"),
    ],
)
def test_what_is_not_there(text: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_function(text)
