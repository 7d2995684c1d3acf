"""Files beside the code: requirements and their reasons, lower bounds, citation, continuous integration, containers."""

from __future__ import annotations

import ast
import datetime
import re
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import REPO

SETUP = ConfigParser()
SETUP.read(REPO / "setup.cfg", encoding="utf-8")
EVERY = [Requirement(line) for line in SETUP["options"]["install_requires"].split("\n") if line]
REQUIRED = [one for one in EVERY if one.marker is None or one.marker.evaluate()]
EXTRAS = {
    name: [Requirement(line) for line in lines.split("\n") if line]
    for name, lines in SETUP["options.extras_require"].items()
}
PAGE = (REPO / "docs/explanation/dependencies.md").read_text(encoding="utf-8")
OWN = {"nas", "search_spaces", "experiments", "conf", "run_search", "run_train", "docs"}
WITH_A_REQUIREMENT = {"yaml", "requests", "tornado", "starlette", "packaging", "pandas", "markdown", "griffe"}
CFF_KEYS = {  # of schema 1.2.0
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords"),
    *("license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact"),
    *("repository-code", "title", "type", "url", "version"),
}
CFF_REQUIRED = {"authors", "cff-version", "message", "title"}


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def load(path: str) -> Any:
    return yaml.safe_load((REPO / path).read_text(encoding="utf-8"))


def test_every_requirement_has_a_reason() -> None:
    table = rows("Required")
    assert [cells[0].strip("`") for cells in table] == [requirement.name for requirement in REQUIRED]
    for cells in table:
        assert len(cells) == 4, cells[0]
        assert all(cells), cells[0]


def test_every_extra_has_a_reason() -> None:
    named = [name.strip("` ") for cells in rows("Extras") for name in cells[0].split(",")]
    assert sorted(named) == sorted(EXTRAS)


def test_every_import_is_a_requirement_or_an_extra() -> None:
    known = {canonicalize_name(one.name) for one in [*REQUIRED, *(one for each in EXTRAS.values() for one in each)]}
    distributions = packages_distributions()
    unknown = {}
    for path in [*REPO.glob("run_*.py"), *(path for name in sorted(OWN) for path in (REPO / name).rglob("*.py"))]:
        if "templates" in path.parts:
            continue
        for name in imported(path) - OWN - {"tests"} - WITH_A_REQUIREMENT - set(sys.stdlib_module_names):
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
            if not owners & known:
                unknown[str(path.relative_to(REPO))] = name
    assert unknown == {}
    for name in WITH_A_REQUIREMENT:
        assert f"`{name}`" in PAGE


def imported(path: Path) -> set[str]:
    """Top packages that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def pins(name: str) -> dict[str, Version]:
    """Versions of a file of constraints for this Python."""
    lines = (REPO / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if "==" in line and not line.startswith("#")]
    here = [one for one in found if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): Version(str(one.specifier).removeprefix("==")) for one in here}


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    oldest = pins("constraints-oldest.txt")
    assert set(oldest) == {canonicalize_name(one.name) for one in REQUIRED}
    for one in REQUIRED:
        (bound,) = [Version(spec.version) for spec in one.specifier if spec.operator == ">="]
        assert oldest[canonicalize_name(one.name)] == bound, one.name


def test_the_tested_versions_are_allowed() -> None:
    tested = pins("constraints.txt")
    for one in [*REQUIRED, *(one for each in EXTRAS.values() for one in each)]:
        version = tested.get(canonicalize_name(one.name))
        assert version is None or one.specifier.contains(version), one.name


def test_the_python_versions_agree() -> None:
    oldest = re.fullmatch(r">=(3\.\d+)", SETUP["options"]["python_requires"])
    assert oldest is not None
    project = (REPO / "pyproject.toml").read_text(encoding="utf-8")
    assert f'python_version = "{oldest[1]}"' in project
    assert f'target-version = "py{oldest[1].replace(".", "")}"' in project
    stated = re.findall(r"Python :: (3\.\d+)$", SETUP["metadata"]["classifiers"], re.M)
    assert stated[0] == oldest[1]
    run = {
        str(version) for version in load(".github/workflows/ci.yml")["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    }
    assert run | {"3.11"} == set(stated)
    assert [cells[0] for cells in rows("Versions")] == stated


def test_the_citation_follows_its_schema() -> None:
    citation = load("CITATION.cff")
    assert CFF_REQUIRED <= set(citation) <= CFF_KEYS
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    assert citation["authors"]
    for author in citation["authors"]:
        assert "name" in author or {"family-names", "given-names"} <= set(author)
    assert citation["license"] == SETUP["metadata"]["license"]
    assert citation["version"] == SETUP["metadata"]["version"]
    datetime.date.fromisoformat(citation["date-released"])
    text = [value for value in citation.values() if isinstance(value, str)]
    assert all(text)


def test_the_changelog_has_dated_versions() -> None:
    text = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = dict(re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", text, re.M))
    assert re.findall(r"^## \[(\d[^\]]*)\]", text, re.M) == list(dated), "a version without a date"
    dates = [datetime.date.fromisoformat(date) for date in dated.values()]
    assert dates == sorted(dates, reverse=True)
    citation = load("CITATION.cff")
    assert dated[SETUP["metadata"]["version"]] == citation["date-released"]


def test_continuous_integration_runs_what_exists() -> None:
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    jobs = load(".github/workflows/ci.yml")["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert "bash .ci/run" in commands
    for command in commands:
        for target in re.findall(r"make ([\w-]+)", command):
            assert re.search(rf"^{target}:", makefile, re.M), target
    hooks = load(".pre-commit-config.yaml")["repos"][0]["hooks"]
    linted = re.search(r"^lint: install docs\n((?:\t.*\n)+)", makefile, re.M)
    assert linted is not None
    for hook in hooks:
        tool = hook["entry"].removeprefix(".venv/bin/").removeprefix("python -m ").split()[0]
        assert tool in linted[1], hook["id"]


def test_forms_are_complete() -> None:
    for path in (REPO / ".github/ISSUE_TEMPLATE").glob("*_*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form), path.name
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert ids
        assert len(ids) == len(set(ids)), path.name


def test_containers_copy_what_exists() -> None:
    docker = (REPO / "containers/Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", docker, re.M) for word in line.split()]
    apptainer = (REPO / "containers/voxnas.def").read_text(encoding="utf-8")
    files = re.findall(r"^    (\S+) /opt/voxnas/$", apptainer, re.M)
    assert sorted(copied) == sorted(files)
    for name in copied:
        assert (REPO / name).exists(), name
    assert {"nas", "search_spaces", "experiments", "conf", "run_search.py", "run_train.py"} <= set(copied)
    for text in (docker, apptainer):
        (extras,) = re.findall(r"'\.\[([\w,]+)\]'", text)
        assert set(extras.split(",")) <= set(EXTRAS)
        assert "DEVICE=cpu" in text
