"""The file from which an interrupted comparison of strategies continues."""

from pathlib import Path

import pytest

from benchmarks.kept_replays import KeptReplays
from benchmarks.replays import Replay
from nas.errors import NASError

SETTINGS = {"table": "abc", "window": [1.0, 2.0], "truth": None}
REPLAY = Replay([1.0, 2.0], [float("nan"), 0.5], [float("nan"), 0.4], [0.0, 0.1], [3.0, 4.0])


def test_a_comparison_continues_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "replays.jsonl"
    kept = KeptReplays(path, SETTINGS)
    kept.add("random", 0, REPLAY)
    kept.add("pop", 1, "has no order on this space")
    with path.open("a") as file:
        file.write('{"strategy": "random", "seed": 1, "ans')  # killed while it wrote
    again = KeptReplays(path, SETTINGS).known
    assert set(again) == {("random", 0), ("pop", 1)}
    assert again["pop", 1] == "has no order on this space"
    found = again["random", 0]
    assert isinstance(found, Replay)
    assert repr(found) == repr(REPLAY)  # NaN is not equal to itself


def test_a_replay_after_a_cut_line_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "replays.jsonl"
    KeptReplays(path, SETTINGS).add("random", 0, REPLAY)
    path.write_text(path.read_text()[:-5])
    KeptReplays(path, SETTINGS).add("random", 1, REPLAY)
    assert set(KeptReplays(path, SETTINGS).known) == {("random", 1)}


def test_replays_of_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "replays.jsonl"
    KeptReplays(path, SETTINGS).add("random", 0, REPLAY)
    before = path.read_bytes()
    with pytest.raises(NASError, match="name another file"):
        KeptReplays(path, {**SETTINGS, "table": "abd"})
    assert path.read_bytes() == before


def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text('{"my": "notes"}')  # no newline at the end, as in a file that was cut
    with pytest.raises(NASError, match="name another file"):
        KeptReplays(path, SETTINGS)
    assert path.read_text() == '{"my": "notes"}'


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = KeptReplays(None, SETTINGS)
    kept.add("random", 0, REPLAY)
    assert kept.known == {("random", 0): REPLAY}
    assert not list(tmp_path.iterdir())
