"""A folder that is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.utils.files import whole_folder


def test_a_new_folder_takes_the_old_ones_place(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with whole_folder(tmp_path / "out") as folder:
            (folder / content).write_text(content)
            assert folder != tmp_path / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["second"]


def broken_off(folder: Path, end: type[BaseException]) -> None:
    with whole_folder(folder) as temporary:
        (temporary / "half").touch()
        raise end


@pytest.mark.parametrize("end", [ValueError, KeyboardInterrupt])
def test_what_ends_the_writing_leaves_the_old_folder(tmp_path: Path, end: type[BaseException]) -> None:
    with whole_folder(tmp_path / "out") as folder:
        (folder / "old").touch()
    with pytest.raises(end):
        broken_off(tmp_path / "out", end)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["old"]
