"""Modules import downwards to the file they need, and the core needs the core packages alone."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "pyro_posterior"
SOURCE = Path(__file__).parents[1] / "src" / PACKAGE
CORE = {"torch", "pyro", "numpy", "lightning_fabric", "lightning", "tqdm", "filelock", PACKAGE}
HEAVY = ["scvi", "anndata", "zarr", "xarray", "matplotlib", "pandas", "lightning"]


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_time_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements run when the module is imported: not in functions, not for the type checker."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and is_type_checking(statement.test):
            yield from import_time_statements(statement.orelse)
            continue
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from import_time_statements(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", []):
            yield from import_time_statements(handler.body)


def imported_names(statement: ast.stmt, module: str) -> list[str]:
    """Full names that one import statement asks for: modules, or names in them."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        base = statement.module or ""
        if statement.level:
            is_package = MODULES[module].name == "__init__.py"
            parents = module.split(".")
            parents = parents[: len(parents) - statement.level + is_package]
            base = ".".join([*parents, base] if base else parents)
        return [f"{base}.{alias.name}" for alias in statement.names]
    return []


def imports_of(module: str, *, everywhere: bool) -> list[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    statements = (
        (node for node in ast.walk(tree) if isinstance(node, ast.stmt))
        if everywhere
        else import_time_statements(tree.body)
    )
    return [name for statement in statements for name in imported_names(statement, module)]


def own_module(name: str) -> str | None:
    """The module of this package that ``name`` is, or is defined in."""
    while name.split(".")[0] == PACKAGE:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


def find_loop(graph: dict[str, set[str]]) -> list[str]:
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_loop_among_modules() -> None:
    graph = {
        module: {
            target
            for name in imports_of(module, everywhere=False)
            if (target := own_module(name)) and target != module
        }
        for module in MODULES
    }
    assert not set(EDGES) & set().union(*graph.values()), "imported where the package may be absent"
    assert len(graph) > 5
    loop = find_loop(graph)
    assert not loop, "modules import each other in a loop: " + " -> ".join(loop)


def test_a_loop_would_be_named() -> None:
    loop = find_loop({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert set(loop) == {"a", "b", "c"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_the_leaf_file(module: str) -> None:
    """No module asks the package itself, or its own folder's ``__init__``, for a name."""
    if MODULES[module].name == "__init__.py":
        return
    forbidden = {PACKAGE, module.rpartition(".")[0]}
    for name in imports_of(module, everywhere=True):
        parent, _, last = name.rpartition(".")
        through_init = name in forbidden or (parent in forbidden and name not in MODULES)
        assert not through_init, f"{module} imports {last!r} from a package's __init__"


#: Modules that are imported only where a package is used, and which one.
EDGES = {"pyro_posterior.executors.dask": {"dask", "distributed"}}


@pytest.mark.parametrize("module", MODULES)
def test_optional_packages_are_not_imported_at_the_top(module: str) -> None:
    roots = {name.split(".")[0] for name in imports_of(module, everywhere=False)}
    optional = roots - CORE - set(sys.stdlib_module_names) - EDGES.get(module, set())
    assert not optional, f"{module} imports {sorted(optional)} when it is imported"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_leaves_heavy_packages_alone() -> None:
    found = run_python(
        f"import sys, pyro_posterior; print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert found == "[]"


def test_drawing_does_not_load_torchs_compiler() -> None:
    """It would take about a second of the first call."""
    found = run_python(
        "import sys, torch, pyro, pyro.distributions as dist\n"
        "from pyro_posterior import sample_posterior\n"
        "def model(x):\n"
        "    with pyro.plate('obs', len(x)):\n"
        "        pyro.sample('z', dist.Normal(x, 1.0))\n"
        "for engine in ('loop', 'sliced'):\n"
        "    sample_posterior(model, model, torch.ones(3), num_samples=9, engine=engine,\n"
        "                     accelerator='cpu', show_progress=False)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert found == "False"


def test_the_package_imports_where_only_the_core_is_installed() -> None:
    """Every package outside the core's own dependencies is hidden from the import."""
    optional = [
        *("scvi", "anndata", "scanpy", "cell2location", "zarr", "xarray", "arviz", "dask"),
        *("matplotlib", "pandas", "scipy", "sklearn", "numba", "mudata", "h5py", "seaborn"),
    ]
    assert "yes" in run_python(
        "import sys\n"
        f"for name in {optional!r}: sys.modules[name] = None\n"
        "import pyro_posterior, inspect\n"
        "names = [n for n in pyro_posterior.__all__ if getattr(pyro_posterior, n) is None]\n"
        "print('yes' if not names else names)"
    )
