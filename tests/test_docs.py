"""Pages of docs/: valid commands and links, generated pages that are up to date, every component of conf/ named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.generate import REFERENCE, pages, stated_limits
from docs.street import PATH as STREET
from docs.street import drawing, packages
from experiments.conf_files import TABLES, tables
from nas.data.io.arrays import AXES
from nas.data.io.dicom_header import DECODED, SOP_CLASSES
from nas.data.io.formats import FORMATS, OTHERS
from nas.strategies.fidelity.schedule import EMERGED
from tests.conftest import REPO
from tests.documents import PAGES, anchors, check_command, commands, links

ALL_PAGES = sorted({*PAGES, *REFERENCE.rglob("*.md"), REPO / "CHANGELOG.md"})
RESULTS = REPO / "docs/results"  # their commands are those of conf/table, which tests/test_paper_tables.py composes
DOCUMENTED = [
    path for path in PAGES if path != REPO / "README.md" and RESULTS not in path.parents and commands(path.read_text())
]
OWN_PACKAGES = set((REPO / "docs/tutorials").glob("add-a*.md"))  # their commands need the packages that they make


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_to_pages_and_headings(path: Path) -> None:
    for link in links(path.read_text()):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: str(path.relative_to(REPO)))
def test_commands_are_valid(path: Path) -> None:
    for words in commands(path.read_text()):
        if path in OWN_PACKAGES and words[:2] not in (["voxnas", "new"], ["voxnas", "spaces"]):
            continue  # run by test_plugins.py
        check_command(words)


def test_generated_pages_are_up_to_date() -> None:
    for name, text in pages().items():
        assert (REFERENCE / name).read_text() == text, f"{name}: run `python -m docs.generate`"


def test_limits_name_everything_that_the_readers_accept() -> None:
    text = (REFERENCE / "limits.md").read_text()
    accepted = [*SOP_CLASSES, *DECODED, *AXES, *(ending for form in FORMATS for ending in form.endings)]
    for name in (*accepted, *OTHERS.values()):
        assert name in text, name
    for limit in stated_limits():
        assert limit.answer == "read" or limit.detail, limit


def test_every_component_of_conf_is_in_the_reference() -> None:
    text = "".join(path.read_text() for path in REFERENCE.rglob("*.md"))
    for path in (REPO / "conf").glob("*/*.yaml"):
        if path.parent.name != TABLES:
            assert f"`{path.parent.name}={path.stem}`" in text, path


def test_every_table_is_on_its_page_with_its_results() -> None:
    text = (REPO / "docs/how-to/reproduce-a-table.md").read_text()
    for name in tables():
        assert f"`{name}`" in text
        assert f"](../results/{name}/table.md)" in text
        folder = RESULTS / name
        assert {"table.md", "table.csv", "table.tex"} <= {path.name for path in folder.iterdir()}
        for path in folder.iterdir():
            assert str(REPO.parent) not in path.read_text(), f"{path} names a folder of one machine"


def test_every_page_is_linked_from_the_index() -> None:
    index = REPO / "docs/index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index.read_text())}
    assert {path for path in (REPO / "docs").rglob("*.md") if path != index} <= linked


def test_the_drawing_of_the_packages_is_up_to_date_and_names_what_exists() -> None:
    assert STREET.read_text() == drawing()
    for path in packages():
        assert (REPO / path).exists(), path


def test_the_files_of_typical_changes_exist() -> None:
    page = (REPO / "docs/explanation/architecture.md").read_text()
    rows = re.findall(r"^\| (an? [\w ]+) \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    assert len(rows) >= 12
    for change, files, words in rows:
        paths = [path for path in re.findall(r"`([\w/.]+)`", files + words) if "/" in path]
        assert paths, change
        for path in paths:
            assert (REPO / path).exists(), path
        named = re.findall(r"`([A-Z]\w+|[a-z_]+)`", words)
        text = "".join((REPO / path).read_text() for path in paths if (REPO / path).is_file())
        for name in named:
            assert re.search(rf"\b{name}\b", text), f"{change}: {name}"


def test_signatures_show_values_and_types_without_checks() -> None:
    griffe = pytest.importorskip("griffe")
    extensions = griffe.load_extensions(str(REPO / "docs/signatures.py"))
    loaded = griffe.load("nas.strategies", search_paths=[REPO], extensions=extensions)
    shown = {one.name: (str(one.annotation), str(one.default)) for one in loaded["ASHA.__init__"].parameters}
    assert shown["min_budget"] == ("int", str(EMERGED))
    assert shown["eta"] == ("float", "3")
