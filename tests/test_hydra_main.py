"""What is done to a command line before Hydra reads it, and names of folders in URLs of studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.hydra_main import with_names_as_typed
from nas.study.reader import StudyReader
from nas.study.url import sqlite_url, store_url
from tests.problems import study_of
from tests.tables import OBJECTIVES, SPACE


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("study.name=1.10", "study.name='1.10'"),
        ("study.name=1.10,1.1,x", "study.name='1.10','1.1',x"),
        ("name=null", "name='null'"),
        ("name=1e3", "name='1e3'"),
        ("study.name=demo", "study.name=demo"),
        ("study.name='1.10'", "study.name='1.10'"),
        ("study.name=${name}", "study.name=${name}"),
        ("seed=1", "seed=1"),
    ],
)
def test_G5_names_are_texts(argument: str, expected: str) -> None:
    assert with_names_as_typed([argument]) == [expected]


@pytest.mark.parametrize("name", ["q?1", "50%25", "a b", "{x}", "ü#&"])
def test_G4_a_study_lies_in_its_folder(name: str, tmp_path: Path) -> None:
    """Two folders whose names differ only in characters with a meaning in URLs hold two studies."""
    folder, other = tmp_path / name, tmp_path / name[:1]
    folder.mkdir()
    study_of(sqlite_url(folder), "s", SPACE, OBJECTIVES, {"data": "a"}).close()
    assert (folder / "study.db").is_file()
    assert not other.exists() or other == folder
    assert StudyReader.open(sqlite_url(folder), "s").spec["data"] == "a"
    assert store_url(str(folder)) == sqlite_url(folder)
    with_same_name = study_of(sqlite_url(tmp_path), "s", SPACE, OBJECTIVES, {"data": "b"})
    assert with_same_name.spec["data"] == "b"
