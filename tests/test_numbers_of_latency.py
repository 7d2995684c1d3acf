"""F3 of the faults: one definition of latency, calibrated, of one device, with a warning where it is uncertain."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.cost import latency
from nas.cost.benchmark import benchmark
from nas.cost.latency import LatencyTable, conditions, device_name, measure_table
from nas.cost.model import CostModel
from nas.errors import NASError
from nas.task_spec import TaskSpec
from search_spaces.naslung import NASLungSpace
from search_spaces.naslung_network import NASLungNet
from tests.commands import voxnas

SPACE, TASK, SHAPE, CPU = NASLungSpace(widths=(4, 8), max_depth=4), TaskSpec("classification"), (1, 8, 8, 8), "cpu"
FACTOR = 0.54  # of a whole network to the sum of its blocks: each block alone has the overhead of a call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Times without a clock: a module takes 1 ms and 1 us for each parameter and image; a whole network 0.54 of it."""
    shapes: list[tuple[int, ...]] = []

    def times(model: nn.Module, input_shape: Sequence[int], device: torch.device, repeats: int = 15) -> np.ndarray:
        shapes.append(tuple(input_shape))
        taken = input_shape[0] * (1.0 + 1e-3 * sum(weight.numel() for weight in model.parameters()))
        if isinstance(model, NASLungNet):  # the whole network
            blocks = sum(1 for _ in SPACE.blocks(np.array([model.genes]), SHAPE[1:], TASK)[1][0] if _ >= 0)
            taken = FACTOR * (taken + blocks - 1.0)
        return np.full(repeats, taken)

    build = SPACE.build

    def with_genes(arch, task=None):  # type: ignore[no-untyped-def]
        model = build(arch, task)
        model.genes = arch.genes
        return model

    monkeypatch.setattr(SPACE, "build", with_genes)
    monkeypatch.setattr(latency, "forward_times", times)
    return shapes


def test_F3_latency_is_that_of_one_image_and_calibrated_against_whole_networks(clock: list[tuple[int, ...]]) -> None:
    table = measure_table(SPACE, SHAPE, TASK, torch.device(CPU), checks=5)
    assert {shape[0] for shape in clock} == {1} == {table.meta["batch"]}
    assert table.meta["calibration"] == pytest.approx(FACTOR)
    assert table.meta["check"]["median_error"] == pytest.approx(0.0, abs=1e-12)
    assert table.warning == ""
    cost = CostModel(SPACE, TASK, SHAPE, "latency_ms", table)
    arch = SPACE.from_stages([[4], [4, 8], [8]])
    whole = latency.forward_times(SPACE.build(arch, TASK), (1, *SHAPE), torch.device(CPU))
    assert cost.of(arch) == pytest.approx(whole[0])


def test_F3_latency_of_a_training_is_of_one_image_too() -> None:
    found = benchmark(SPACE.build(SPACE.from_stages([[4], [4], [8]]), TASK), SHAPE, torch.device(CPU))["latency_ms"]
    table = measure_table(SPACE, SHAPE, TASK, torch.device(CPU), checks=1)
    for name in ("batch", "device", "threads", "torch"):
        assert found[name] == table.meta[name]
    assert found["batch"] == 1


def table_with(**changed: object) -> LatencyTable:
    meta = {"device": device_name(torch.device(CPU)), **conditions(torch.device(CPU)), "batch": 1}
    meta |= {"space": SPACE.fingerprint, "input_shape": list(SHAPE), "check": {"median_error": 0.05}}
    return LatencyTable.of({**meta, **changed}, {})


@pytest.mark.parametrize(
    ("name", "value"), [("device", "another processor"), ("threads", 99), ("torch", "1.0.0"), ("torch", None)]
)
def test_F3_a_table_of_another_device_is_refused(name: str, value: object, tmp_path: Path) -> None:
    table = table_with(**{name: value})
    table_with().require_device(torch.device(CPU))
    with pytest.raises(NASError, match=f"{name}={value}") as error:
        table.require_device(torch.device(CPU))
    assert "cost.other_device=true" in str(error.value)
    replace(table, other_device=True).require_device(torch.device(CPU))
    table.save(tmp_path / "table.json")
    LatencyTable.load(tmp_path / "table.json", other_device=True).require_device(torch.device(CPU))


def test_F3_a_table_of_several_images_is_refused() -> None:
    with pytest.raises(NASError, match="batches of 2 images"):
        CostModel(SPACE, TASK, SHAPE, "latency_ms", table_with(batch=2))


def test_F3_a_table_with_a_large_error_warns(
    clock: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    """The machine becomes busy and idle again while whole networks are measured."""
    quiet, calls = latency.forward_times, iter(range(10_000))

    def busy(model, input_shape, device, repeats=15):  # type: ignore[no-untyped-def]
        return quiet(model, input_shape, device, repeats) * (4.0 if next(calls) % 2 else 1.0)

    monkeypatch.setattr(latency, "forward_times", busy)
    table = measure_table(SPACE, SHAPE, TASK, torch.device(CPU), checks=6)
    assert table.meta["check"]["median_error"] > 0.2
    assert "above 20 %" in table.warning
    monkeypatch.setattr(latency, "measure_table", lambda *args, **more: table)
    code, said, err = voxnas(capsys, "cost", "naslung", "--size", "8", "--out", tmp_path / "table.json")
    assert (code, err) == (0, "")
    assert said.count("warning: the latency table is off by") == 1


def test_F3_a_search_checks_the_table(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from nas.search import SearchJob

    monkeypatch.setattr("nas.search.require_feasible", lambda *args, **more: None)

    class Part:
        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return lambda *args: frozenset()

    class Scores(Part):
        replicates = None

    class Around:
        device = torch.device(CPU)

    class Searched(Part):
        def __init__(self, table: LatencyTable) -> None:
            self.cost = type("Cost", (), {"table": table, "metric": "latency_ms"})()
            self.task = None
            self.space = type("Space", (), {"has_recipe": False})()

    def check(table: LatencyTable) -> None:
        SearchJob(Searched(table), Part(), Scores(), Around(), trials=1).check()  # type: ignore[arg-type]

    with pytest.raises(NASError, match="another processor"):
        check(table_with(device="another processor"))
    with caplog.at_level(logging.WARNING):
        check(table_with(check={"median_error": 0.87}))
    assert "off by 87 %" in caplog.text
