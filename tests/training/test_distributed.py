"""Two real processes, with the variables that torchrun sets, take the steps of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.processes import run_ranks
from tests.training.blobs import blob_store

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One process: 4 epochs. Two processes: 2 epochs, then started again for all 4."""
    root = tmp_path_factory.mktemp("two")
    store = blob_store(root / "blobs.h5").path
    run_ranks(SCRIPT, store, root / "one", 4, folder=root, count=1)
    run_ranks(SCRIPT, store, root / "pair", 2, folder=root)
    run_ranks(SCRIPT, store, root / "pair", 4, folder=root)
    return root / "one", root / "pair"


AVERAGED = pytest.mark.parametrize("averaged", [False, True])  # weights averaged by training.ema


def read(folder: Path, rank: int, norm: bool, averaged: bool):  # type: ignore[no-untyped-def]
    out = folder / (f"norm-{norm}" + "-averaged" * averaged)
    return json.loads((out / f"rank{rank}.json").read_text()), torch.load(out / f"rank{rank}.pt", weights_only=True)


@AVERAGED
def test_two_processes_take_the_steps_of_one(folders: tuple[Path, Path], averaged: bool) -> None:
    """Batches of 9 and 8 samples: the shares of the two ranks are unequal, and the gradient is that of the batch."""
    (one, one_weights), (pair, pair_weights) = (read(folder, 0, False, averaged) for folder in folders)
    assert (one["world"], pair["world"]) == (1, 2)
    for name, value in one_weights.items():
        torch.testing.assert_close(pair_weights[name], value, rtol=1e-3, atol=1e-5)
    for a, b in zip(one["history"], pair["history"], strict=True):
        assert b == pytest.approx(a, rel=1e-3, abs=1e-5)


@AVERAGED
@pytest.mark.parametrize("norm", [False, True])
def test_all_ranks_hold_the_same_weights_and_metrics(folders: tuple[Path, Path], norm: bool, averaged: bool) -> None:
    (first, first_weights), (second, second_weights) = (read(folders[1], rank, norm, averaged) for rank in (0, 1))
    assert first == second
    assert first["metrics"] == first["again"]
    for name, value in first_weights.items():
        assert torch.equal(second_weights[name], value), name


def test_one_set_of_checkpoints_is_written_and_resumed(folders: tuple[Path, Path]) -> None:
    for norm in (False, True):
        facts, _ = read(folders[1], 0, norm, False)
        assert [row["epoch"] for row in facts["history"]] == [1, 2, 3, 4]
        written = sorted(path.name for path in (folders[1] / f"norm-{norm}" / "checkpoints").iterdir())
        assert written == ["best.pt", "last.pt"]
