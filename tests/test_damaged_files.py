"""Damaged results, bundles and stores: never loaded, and made anew if they can be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.artifact import load
from nas.bundle import ARCH, MODEL_JSON, Bundle
from nas.data.sample import Sample
from nas.data.store import VolumeStore
from nas.data.store_damage import DamagedStore
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.retraining.result import TrainResult
from nas.training.curves import CURVES

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """The content with flipped bits, a hole, or without its end."""
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "hole", "cut"]))
    if kind == "cut":
        return content[:at]
    changed = bytearray(content)
    if kind == "flip":
        changed[at] ^= data.draw(st.integers(1, 255))
    else:
        changed[at : at + 64] = bytes(len(changed[at : at + 64]))
    return bytes(changed)


def facts(path: Path) -> Any:
    """The content that a reader returns, in a form that can be compared."""
    if path.name == "result.json":
        return json.dumps(TrainResult.load(path).to_json())
    if path.name == ARCH and path.parent.name == "s":
        found = load(path)
        return found.arch, found.metrics, found.provenance, found.task
    found_bundle = Bundle.load(path.parent)
    found_bundle.network()
    return found_bundle.spec, found_bundle.curves, found_bundle.artifact.metrics, found_bundle.artifact.arch


@PROPERTY
@given(st.data())
@pytest.mark.parametrize("name", ["s/arch.json", "t/result.json", MODEL_JSON, ARCH, CURVES])
def test_B4_damaged_results_are_never_loaded(name: str, results: Path, data: st.DataObject) -> None:
    """One line, or the same content if the damage changed no value."""
    path = results / name if "/" in name else results / "bundle" / name
    whole, expected = path.read_bytes(), facts(path)
    path.write_bytes(damaged(data, whole))
    try:
        with suppress(NASError):
            assert facts(path) == expected
    finally:
        path.write_bytes(whole)


def test_B4_an_arch_json_that_a_program_changed_on_purpose_is_read(place: Path) -> None:
    path = place / "s/arch.json"
    content = json.loads(path.read_text())
    content["metrics"]["auc"] = 0.25
    path.write_text(json.dumps(content, indent=1))
    with pytest.raises(NASError, match="does not match its checksum"):
        load(path)
    path.write_text(json.dumps(content))
    assert load(path).metrics["auc"] == 0.25


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"case {number}",
            rng.normal(size=(1, 4, 4, 4)).astype(np.float32),
            number % 2,
            f"patient {number}",
            (1.0, 2.0, 3.0),
            7.5,
            content=f"{number}" * 64,
        )
        for number in range(6)
    ]
    path = tmp_path_factory.mktemp("store") / "toy.h5"
    write_store(path, samples, name="toy", classes=("a", "b"), provenance={"licence": "CC0"})
    return path


def whole_content(path: Path) -> Any:
    store = VolumeStore(path)
    columns = (store.labels, store.groups, store.names, store.folds, store.spacing_mm, store.size_mm3)
    rest = (store.classes, store.scale, store.offset, store.sha256, dict(store.provenance), store.content_digests([1]))
    return [column.tolist() for column in columns], rest, store.read(range(len(store))).tobytes()


@PROPERTY
@given(st.data())
def test_B4_a_damaged_store_is_never_loaded(store: Path, tmp_path: Path, data: st.DataObject) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(damaged(data, store.read_bytes()))
    expected = whole_content(store)
    with suppress(NASError):
        assert whole_content(copy) == expected


def test_B4_a_damaged_copy_of_the_source_is_made_anew(tmp_path: Path) -> None:
    """Damage that opening finds, and damage of a volume, which is found when it is read."""
    from nas.data.sources.lidc_shapes import LidcShapes

    class Toy(LidcShapes):
        name = "toy"
        classes = ("a", "b")

        def __init__(self, cache_dir: str) -> None:
            self.cache_dir = cache_dir

        def content(self) -> Mapping[str, Any]:
            return {}

        def preparation(self) -> Mapping[str, Any]:
            return {}

        def samples(self) -> Iterator[Sample]:
            for number in range(4):
                volume = np.random.default_rng(number).normal(size=(1, 8, 8, 8)).astype(np.float32)
                yield Sample(str(number), volume, number % 2, str(number))

    source = Toy(str(tmp_path))
    path = source.prepare().path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    expected = source.prepare().read(range(4))
    with_volumes = bytearray(path.read_bytes())
    import h5py

    with h5py.File(path) as file:
        at = file["volumes"].id.get_chunk_info(2).byte_offset + 100
    with_volumes[at] ^= 0xFF
    path.write_bytes(with_volumes)
    with pytest.raises(DamagedStore, match="repeat the command"):
        source.prepare().read(range(4))
    np.testing.assert_array_equal(source.prepare().read(range(4)), expected)
