"""`voxnas networks`: published networks by name, with our counts beside those of the literature."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from nas.cost.published import counts_of
from nas.published import Published, PublishedCount
from search_spaces import CascadeSpace, NASLungSpace, NodulePatchSpace, ResNet3DSpace, UNetSpace
from tests.commands import refused, voxnas

Networks = Callable[..., tuple[int, str, str]]


@pytest.fixture
def networks(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Networks:
    """Runs `voxnas networks` in this process, in an empty folder: exit code, output, error text."""
    monkeypatch.chdir(tmp_path)
    return partial(voxnas, capsys, "networks")


@pytest.mark.parametrize(
    ("name", "space"), [("cascade", CascadeSpace), ("nodule_patch", NodulePatchSpace), ("unet", UNetSpace)]
)
def test_counts_are_the_published_ones_up_to_the_stated_definitions(name: str, space: type) -> None:
    compared = 0
    for counts in counts_of(name, space):
        for stated in counts.published.counts:
            ours = {"params": counts.params, "macs": counts.macs, "flops": counts.flops}[stated.quantity]
            rel = 0.03 if "thop" in stated.note else 0.01
            assert ours == pytest.approx(stated.number, rel=rel), (counts.name, stated)
            assert ours != stated.number or not stated.note
            compared += 1
    assert compared == 2


@pytest.mark.slow
def test_sizes_of_the_first_naslung_table_are_four_bytes_a_parameter() -> None:
    """All rows but the one of model-1, which is the size of a file with more than weights."""
    counts = {one.name: one for one in counts_of("naslung", NASLungSpace)}
    assert len(counts) == 42 + 10
    rows = [(one, stated) for one in counts.values() for stated in one.published.counts if one.params]
    assert len(rows) == 15
    for one, stated in rows:
        assert stated.quantity == "size"
        assert one.size is not None
        assert (abs(one.size / 1e6 - stated.value) < 0.006) == (one.name != "naslung/model-1")
    assert counts["naslung/model-1"].params == 16_128
    note = counts["naslung/model-1"].published.counts[0].note
    assert note == "the size of a file in MB, no number of parameters: 16,128 parameters are 0.016 M"
    assert not any(one.params and round(one.params / 1e6, 2) == 16.84 for one in counts.values())
    assert counts["naslung/NASLung"].params is None


def test_table(networks: Networks) -> None:
    code, out, err = networks("--space", "resnet3d", "--space", "nodule_patch")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["parameters", "MB", "MACs", "(G)", "FLOPs", "(G)", "input", "published", "network"]
    rows = {line.split()[-1]: line.split() for line in lines[1:] if "/" in line and not line.startswith("[")}
    assert rows["resnet3d/resnet-18"][:5] == ["33,140,802", "132.6", "17.75", "35.50", "1x28x28x28"]
    assert rows["resnet3d/resnet-50"][0] == "46,138,946"
    assert rows["nodule_patch/lung-screening"][:5] == ["50,162", "0.2006", "0.002722", "0.005444", "1x64x64"]
    assert "0.002796 G MACs [1]" in out
    assert "[1] by thop up to 0.0.31" in out
    assert "naslung" not in out


def test_json_and_csv(networks: Networks, tmp_path: Path) -> None:
    code, out, err = networks("--space", "unet", "--json")
    assert code == 0, err
    listed = {one["name"]: one for one in json.loads(out)}
    assert set(listed) == {"unet/lung-screening", "unet/plain-3d", "unet/plain-2d"}
    screening = listed["unet/lung-screening"]
    assert (screening["params"], screening["macs"]) == (34_525_954, 261_103_812_608)
    assert screening["flops"] == 2 * screening["macs"]
    assert [one["value"] for one in screening["published"]] == [34.526, 261.901]

    code, out, err = networks("--space", "unet", "--out", "networks.csv")
    assert code == 0, err
    assert "wrote networks.csv (3 networks)" in out
    rows = list(csv.DictReader((tmp_path / "networks.csv").read_text().splitlines()))
    assert [row["published_quantity"] for row in rows] == ["params", "macs", "", ""]
    assert {row["name"]: int(row["params"]) for row in rows} == {name: one["params"] for name, one in listed.items()}

    refused(networks("--out", "networks.tex"), "--out networks.tex", ".csv or .json")
    refused(networks("--space", "vgg"), "--space vgg", "resnet3d")


def test_a_network_without_its_architecture_is_listed_with_the_published_counts_alone() -> None:
    class Space(ResNet3DSpace):
        not_included: ClassVar[Mapping[str, Published]] = {
            "big": Published((), counts=(PublishedCount("params", 1.5, "M", "a paper"),))
        }

    big = list(counts_of("space", Space))[-1]
    assert (big.name, big.params, big.macs, big.size) == ("space/big", None, None, None)
    assert big.to_json()["published"][0]["value"] == 1.5
    assert big.published.counts[0].number == 1_500_000
