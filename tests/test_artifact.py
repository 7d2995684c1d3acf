"""arch.json: what was saved is what is built, and no edited file gets through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.artifact import Artifact, load
from nas.errors import NASError
from nas.provenance import Provenance
from nas.task_spec import TaskSpec
from search_spaces.naslung import NASLungSpace


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    space, arch = NASLungSpace.from_name("spcbam[4,4,[8, 8, 8], [16, 16, 16], [32, 32]]")
    path = tmp_path / "arch.json"
    Artifact(space, arch, TaskSpec(in_channels=1, outputs=2), {"auc": 0.9}, Provenance(published="naslung/x")).save(
        path
    )
    return path


def edit(path: Path, **changes: Any) -> Path:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    return path


def test_round_trip_builds_the_same_network(saved: Path) -> None:
    artifact = load(saved)
    assert sum(p.numel() for p in artifact.build().parameters()) == 158_500
    assert artifact.metrics == {"auc": 0.9}
    assert artifact.provenance == Provenance(published="naslung/x")
    assert artifact.space.fingerprint == artifact.arch.space


def test_the_space_of_another_process_has_the_same_fingerprint(saved: Path) -> None:
    assert load(saved).arch.id == json.loads(saved.read_text())["id"]


def test_missing_and_broken_files(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(NASError, match="check the path"):
        load(tmp_path / "nowhere.json")
    saved.write_text(saved.read_text()[:60])
    with pytest.raises(NASError, match=r"an arch\.json"):
        load(saved)
    saved.write_text("[1, 2]")
    with pytest.raises(NASError, match="schema"):
        load(saved)


def test_a_newer_schema(saved: Path) -> None:
    with pytest.raises(NASError, match="update voxnas"):
        load(edit(saved, schema=99))


def test_genes_edited_by_hand(saved: Path) -> None:
    genes = json.loads(saved.read_text())["genes"]
    with pytest.raises(NASError, match="undo the edit"):
        load(edit(saved, genes=[*genes[:-1], genes[-1] + 1]))  # another valid point: the id tells
    with pytest.raises(NASError, match="expected genes of NASLungSpace"):
        load(edit(saved, genes=[*genes[:-1], 0]))
    for broken in ([], "abc", [0.5] * len(genes), [*genes, 1]):
        with pytest.raises(NASError):
            load(edit(saved, genes=broken))


def test_a_missing_key_and_unknown_space_arguments(saved: Path) -> None:
    content = json.loads(saved.read_text())
    with pytest.raises(NASError, match="undo the edit"):
        load(edit(saved, space={**content["space"], "arguments": {"depth": 3}}))
    del content["genes"]
    saved.write_text(json.dumps(content))
    with pytest.raises(NASError, match="genes"):
        load(saved)


@pytest.mark.parametrize(
    ("class_path", "words"),
    [
        ("os.path.join", "allow_packages"),
        ("search_spaces.naslung_published.MODEL_LIST", "subclass"),
        ("search_spaces.naslung_network.NASLungNet", "subclass"),
        ("search_spaces.nothing.Space", "can be imported"),
        ("search_spaces.naslung.Nothing", "can be imported"),
    ],
)
def test_classes_that_are_no_allowed_space(saved: Path, class_path: str, words: str) -> None:
    content = json.loads(saved.read_text())
    with pytest.raises(NASError, match=words):
        load(edit(saved, space={**content["space"], "class": class_path}))


def test_a_foreign_package_is_not_even_imported(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "imported"
    source = f"open({str(marker)!r}, 'w').close()\nfrom search_spaces.naslung import NASLungSpace as Foreign\n"
    (tmp_path / "foreign_spaces.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    content = json.loads(saved.read_text())
    edit(saved, space={**content["space"], "class": "foreign_spaces.Foreign"})
    with pytest.raises(NASError, match="if you trust"):
        load(saved)
    assert not marker.exists()
    assert load(saved, allow=["foreign_spaces"]).arch.id == content["id"]


def test_an_error_is_one_line() -> None:
    text = str(NASError("a\nb", "c", "d"))
    assert text == "got a b; expected c; fix: d"
