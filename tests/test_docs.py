"""The docs hold: names have a place, links lead somewhere, code runs, searched words occur."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pyro
import pytest

from pyro_posterior.functions import module_of_file

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    if "_build" not in page.parts and page.name != "mistakes.md"
)

#: Pages whose blocks run as they stand, in order, in one namespace. The others show a call among
#: names that a reader has; they must parse.
RUN = ["from-predictive.md", "minibatches.md", *(f"questions/{p.name}" for p in sorted((DOCS / "questions").glob("*.md")))]  # fmt: skip

#: Modules whose public names are documented, beside the package's own.
PUBLIC = ["pyro_posterior", "pyro_posterior.testing", "pyro_posterior.scvi"]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def documented() -> set[str]:
    """Full names that the API pages have a directive for."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    return set(re.findall(r"^\.\. (?:auto\w+|data):: (\S+)$", text, re.M))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_a_place_in_the_api_pages(module: str) -> None:
    found = documented()
    names = set(importlib.import_module(module).__all__) - {"settings"}
    absent = {
        name for name in names
        if f"{module}.{name}" not in found and f"pyro_posterior.{name}" not in found
    }  # fmt: skip
    assert not absent


def test_what_the_api_pages_name_exists() -> None:
    for name in documented():
        module, _, last = name.rpartition(".")
        while module:
            try:
                found = importlib.import_module(module)
                break
            except ModuleNotFoundError:
                module, _, rest = module.rpartition(".")
                last = f"{rest}.{last}"
        for part in last.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_local_links_lead_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("#"):
            continue
        file, _, anchor = target.partition("#")
        if file == "mistakes.md":  # made with the pages
            continue
        there = page.parent / file
        assert there.is_file(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, f"{page.name} links to {target}"


def test_every_page_is_in_the_tree() -> None:
    trees = {
        page: page.read_text(encoding="utf-8")
        for page in (DOCS / "index.md", DOCS / "api" / "index.md", DOCS / "questions" / "index.md")
    }
    listed = set()
    for page, text in trees.items():
        for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.S | re.M):
            if ":glob:" in tree:
                listed |= {each.resolve() for each in page.parent.glob("*.md")}
            listed |= {
                (page.parent / f"{line.strip()}.md").resolve()
                for line in tree.splitlines()
                if line.strip() and not line.startswith(":")
            }
    for page in PAGES:
        if page.is_relative_to(DOCS) and page != DOCS / "index.md":
            assert page.resolve() in listed, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_are_python(page: Path) -> None:
    for block in blocks(page):
        ast.parse(block)


@pytest.mark.parametrize("name", RUN)
def test_blocks_run_in_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / name
    monkeypatch.chdir(tmp_path)
    pyro.clear_param_store()
    namespace: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(page), 1):
        exec(compile(block, f"{name}, block {number}", "exec"), namespace)


def warnings_of_the_source() -> dict[str, str]:
    """What each call of `warn` says, as far as it is no value, by where it stands."""
    found = {}
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "warn":
                texts = [x.value for x in ast.walk(node.args[0]) if isinstance(x, ast.Constant)]
                found[f"{file.name}:{node.lineno}"] = "".join(
                    t for t in texts if isinstance(t, str)
                )
    return found


def test_troubleshooting_has_every_warning_and_no_other() -> None:
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("## Every warning")[2].partition("\n## ")[0]
    told = re.findall(r'^\| "(.*?)" \|', table, re.M)
    said = warnings_of_the_source()
    assert len(said) >= 15
    for place, text in said.items():
        assert any(words in text for words in told), (place, text)
    for words in told:
        assert any(words in text for text in said.values()), words


def test_the_short_table_of_benchmarks_is_made_of_the_long_ones() -> None:
    made = module_of_file(DOCS / "pictures" / "benchmarks_picture.py")
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert set(made.runs()) == set(made.CASES)
    assert made.short_table() in page


@pytest.mark.parametrize(
    "words",
    ["posterior predictive", "HDI", "trace", "log-likelihood", "subsampling", "out of memory"],
)
def test_words_that_are_searched_for_occur(words: str) -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert re.search(words, text, re.I)
