"""What stands beside the source says the same as the source: versions, ranges, checks, changelog."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

requirements = pytest.importorskip("packaging.requirements")
utils = pytest.importorskip("packaging.utils")


def pins(file: str) -> dict[str, str]:
    """Exact versions by name."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {utils.canonicalize_name(name): version for name, version in pairs}


def everything_asked_for() -> list[Any]:
    project = PROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    named = [words for each in lists for words in each if isinstance(words, str)]
    found = [requirements.Requirement(words) for words in named]
    return [each for each in found if each.name != project["name"]]


@pytest.mark.parametrize("asked", everything_asked_for(), ids=str)
def test_what_is_asked_for_has_an_exact_version_within_its_range(asked: Any) -> None:
    found = pins("constraints.txt")[utils.canonicalize_name(asked.name)]
    assert asked.specifier.contains(found, prereleases=True), (asked, found)


def test_the_oldest_versions_that_are_tried_are_the_lower_bounds() -> None:
    tried = pins(".ci/oldest.txt")
    for words in PROJECT["project"]["dependencies"]:
        asked = requirements.Requirement(words)
        (bound,) = [each.version for each in asked.specifier if each.operator == ">="]
        found = tried.pop(utils.canonicalize_name(asked.name))
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", found), (words, found)
    assert not tried


def test_the_citation_names_this_version() -> None:
    yaml = pytest.importorskip("yaml")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == PROJECT["project"]["version"]
    assert cited["license"] == PROJECT["project"]["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)


def test_the_workflow_runs_the_checks_on_every_python_that_is_promised() -> None:
    yaml = pytest.importorskip("yaml")
    text = (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["checks"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert "bash .ci/run" in [step.get("run") for step in jobs["checks"]["steps"]]
    assert jobs["versions"]["strategy"]["matrix"]["versions"] == ["oldest", "newest"]
    for command in re.findall(r"bash (\.ci/\w+)", text):
        assert (ROOT / command).is_file(), command


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*-*.yml")))
def test_forms_are_forms(form: Path) -> None:
    yaml = pytest.importorskip("yaml")
    read = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(read)
    ids = [part["id"] for part in read["body"]]
    assert len(ids) == len(set(ids)) > 0


def test_the_changelog_is_a_list_in_a_user_s_words() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert text.startswith("# Changelog\n\n## Unreleased\n\n- ")
    for line in text.splitlines():
        assert re.match(r"(# |## |- |  \S|$)", line), line
        assert len(line) <= 110, line
    assert not re.search(r"issue|pull request|#\d", text, re.I)


def test_a_change_without_a_line_in_the_changelog_is_found(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@localhost")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    def check() -> int:
        script = tmp_path / ".ci" / "changelog"
        return subprocess.run(["bash", script, "base"], capture_output=True, check=False).returncode

    (tmp_path / ".ci").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / ".ci" / "changelog").write_bytes((ROOT / ".ci" / "changelog").read_bytes())
    git("init", "-q", "-b", "base")
    git("add", "-A")
    git("commit", "-qm", "first")
    git("checkout", "-qb", "work")
    (tmp_path / "README.md").write_text("words")
    git("add", "-A")
    git("commit", "-qm", "words")
    assert check() == 0
    (tmp_path / "src" / "a.py").write_text("a = 1")
    git("add", "-A")
    git("commit", "-qm", "source")
    assert check() == 1
    git("commit", "-q", "--amend", "-m", "source\n\nChangelog: none")
    assert check() == 0
    git("commit", "-q", "--amend", "-m", "source")
    (tmp_path / "CHANGELOG.md").write_text("- a")
    git("add", "-A")
    git("commit", "-qm", "told")
    assert check() == 0
