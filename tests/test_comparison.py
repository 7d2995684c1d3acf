"""Comparisons of searches and trainings: statistics beside brute force, groups, what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from nas.comparison import compare_jobs, read_jobs, rows_of
from nas.comparison.groups import groups_of
from nas.comparison.record import FAILED, JobRecord
from nas.errors import NASError
from nas.history import CONFIRMATION
from nas.provenance import DataFacts
from nas.task_spec import TaskSpec
from tests.comparisons import write_search, write_training


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two strategies with three seeds; pop is better by 0.1 with every seed, but for 0.001."""
    for number, seed in enumerate((0, 1, 2)):
        scores = [0.5, 0.6 + 0.05 * seed, 0.55]
        better = [score + 0.1 + 0.001 * seed for score in scores]
        for offset, (name, own) in enumerate({"random": scores, "pop": better}.items()):
            folder = tmp_path / f"sweep/seed={seed},strategy={name}"
            write_search(
                folder, own, seed, overrides={"strategy": name, "study.trials": "3"}, number=3 * offset + number
            )
    return tmp_path / "sweep"


def test_a_sweep_has_one_row_per_job_in_its_order(sweep: Path) -> None:
    JobRecord("search", FAILED, 9e9, 6, {"strategy": "tpe", "seed": "0"}, {"strategy": "tpe"}, "out of memory").save(
        sweep / "seed=0,strategy=tpe"
    )
    rows = rows_of(read_jobs([sweep]))
    assert [(row["strategy"], row["seed"], row["state"]) for row in rows] == [
        *(("random", seed, "finished") for seed in range(3)),
        *(("pop", seed, "finished") for seed in range(3)),
        ("tpe", 0, "failed"),
    ]
    assert "study.trials" not in rows[0]  # the same for all
    assert [row["auc"] for row in rows[:3]] == [0.6, 0.65, 0.7]
    assert (rows[0]["networks"], rows[0]["seconds"], rows[0]["epochs"]) == (3, 30.0, 6.0)
    assert rows[-1]["reason"] == "out of memory"
    assert all(rows[-1][name] is None for name in ("auc", "macs", "params", "seconds", "networks", "arch_id"))
    assert len({tuple(row) for row in rows}) == 1


def test_groups_are_compared_with_the_first_by_seed(sweep: Path) -> None:
    found = compare_jobs(read_jobs([sweep]))
    assert found.searches is not None
    assert [group.label for group in found.searches.groups] == ["random", "pop"]
    difference = found.searches.differences["pop"]
    assert (difference.n, difference.mean) == (3, pytest.approx(0.101))
    assert difference.low > 0.09
    assert found.verdicts[0].startswith("In validation AUC, pop is better than random (+0.101 [")
    pop = found.searches.estimates["pop"]["auc"]
    assert (pop.mean, pop.n) == (pytest.approx(0.751), 3)
    curve = found.searches.over_networks["random"]
    assert curve.median_P.tolist() == pytest.approx([0.5, 0.65, 0.65])
    assert curve.q25_P.tolist() == pytest.approx([0.5, 0.625, 0.625])
    seconds = found.searches.over_seconds["random"]
    assert math.isnan(seconds.median_P[0])
    assert seconds.median_P[-1] == pytest.approx(0.65)


def test_hypervolume_has_its_reference_at_the_worst_values(sweep: Path) -> None:
    found = compare_jobs(read_jobs([sweep])).searches
    assert found is not None
    assert found.hypervolume is not None
    trials = [
        (trial.metrics["auc"], trial.metrics["macs"])
        for group in found.groups
        for job in group.jobs.values()
        for trial in job.search.history  # type: ignore[union-attr]
    ]
    auc, macs = np.array(trials).T
    assert found.hypervolume.reference == {"auc": auc.min(), "macs": macs.max()}
    assert found.hypervolume.ideal == {"auc": auc.max(), "macs": macs.min()}
    value_N2 = np.column_stack([(auc - auc.min()) / np.ptp(auc), (macs.max() - macs) / np.ptp(macs)])
    expected = compute_hypervolume(1 - value_N2[:3], np.ones(2))
    assert found.hypervolume.ends["random"][(0,)] == pytest.approx(expected)
    front = found.fronts["pop"]
    order = sorted(zip(front.cost_N, front.score_N, strict=True), key=lambda one: (one[0], -one[1]))
    best = -1.0
    expected_front = set()
    for cost, score in order:
        if score > best:
            expected_front.add((cost, score))
            best = score
    assert set(zip(front.cost_N[front.on_front_N], front.score_N[front.on_front_N], strict=True)) == expected_front


@pytest.mark.parametrize("first", [1, CONFIRMATION])
def test_a_network_counts_once_however_often_it_was_trained(first: int, tmp_path: Path) -> None:
    for seed in range(2):
        scores = [0.5, 0.7 + 0.05 * seed, 0.55]
        write_search(tmp_path / f"once/seed={seed}", scores, seed, overrides={"study.confirm": "0"})
        write_search(
            tmp_path / f"often/seed={seed}",
            scores,
            seed,
            overrides={"study.confirm": "2"},
            again=(first, [0.0, 0.2, 0.1]),
        )
    jobs = read_jobs([tmp_path])
    assert [row["networks"] for row in rows_of(jobs)] == [3] * 4
    found = compare_jobs(jobs).searches
    assert found is not None
    once, often = (found.estimates[group.label] for group in found.groups)
    assert once["networks"].mean == often["networks"].mean == 3
    curves = [found.over_networks[group.label].median_P.tolist() for group in found.groups]
    assert [len(curve) for curve in curves] == [3, 3]
    if first == CONFIRMATION:
        assert curves[0] == pytest.approx(curves[1])
    else:
        assert max(curves, key=lambda curve: curve[-1]) == pytest.approx([0.5, 0.825, 0.825])
    assert found.hypervolume is not None
    if first == CONFIRMATION:
        (difference,) = found.hypervolume.differences.values()
        assert difference.mean == pytest.approx(0.0)


def test_what_breaks_a_constraint_is_never_the_best(tmp_path: Path) -> None:
    folder = write_search(tmp_path / "s", [0.5, 0.9, 0.6], failed=[2])
    content = json.loads((folder / "arch.json").read_text())
    content["provenance"]["search"]["constraints"] = ["auc<=0.8"]
    (folder / "arch.json").write_text(json.dumps(content))
    found = compare_jobs(read_jobs([folder])).searches
    assert found is not None
    (curve,) = found.over_networks.values()
    assert curve.median_P.tolist() == [0.5, 0.5]  # the failed trial trained no network
    (seconds,) = found.over_seconds.values()
    assert seconds.x_P[-1] == pytest.approx(20.0, abs=11)


def test_one_seed_says_that_no_interval_exists(tmp_path: Path) -> None:
    for name, score in (("random", 0.6), ("pop", 0.7)):
        write_search(tmp_path / name, [0.5, score], overrides={"strategy": name})
    found = compare_jobs(read_jobs([tmp_path / "random", tmp_path / "pop"]))
    assert found.verdicts[0] == (
        "With one seed per group no interval over seeds exists, so no difference in validation AUC can be separated "
        "from noise."
    )


def test_single_outputs_differ_by_their_configurations(tmp_path: Path) -> None:
    """Folders without job.json: classes name their groups, and their arguments do not stand beside them."""
    strategies = {
        "a": {"_target_": "nas.strategies.RandomSearch", "cost_min": None},
        "b": {"_target_": "x.Pop", "k": 3},
    }
    for name, strategy in strategies.items():
        training = {"epochs": 3 if name == "a" else 4}
        write_search(tmp_path / name, [0.5, 0.6], strategy=strategy, training=training, device=name)
    groups = groups_of(read_jobs([tmp_path]), "search")
    assert [dict(group.settings) for group in groups] == [
        {"strategy": "RandomSearch", "training.epochs": "3"},
        {"strategy": "Pop", "training.epochs": "4"},
    ]
    assert groups[0].label == "strategy=RandomSearch, training.epochs=3"


def test_outputs_with_equal_settings_are_distinguished_by_their_names(tmp_path: Path) -> None:
    for name in ("before", "after"):
        write_search(tmp_path / name, [0.5, 0.6])
    assert [group.label for group in groups_of(read_jobs([tmp_path]), "search")] == ["after", "before"]


def test_trainings_are_compared_over_seeds_and_over_patients(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_training(tmp_path / f"a{seed}", 0.5, seed, name="a")
        write_training(tmp_path / f"b{seed}", 1.5, seed, name="b")
    found = compare_jobs(read_jobs([tmp_path]), resamples=300).trainings
    assert found is not None
    assert [group.label for group in found.groups] == ["a", "b"]
    scores = {
        label: [job.training.mean["auc"] for job in group.jobs.values()]  # type: ignore[union-attr]
        for label, group in zip("ab", found.groups, strict=True)
    }
    expected = np.mean(scores["b"]) - np.mean(scores["a"])
    over_patients = found.by_patient["b"]
    assert (over_patients.mean, over_patients.n, over_patients.unit) == (
        pytest.approx(expected, abs=1e-5),
        30,
        "patients",
    )
    assert 0 < over_patients.low < expected < over_patients.high
    assert found.by_seed["b"].mean == pytest.approx(expected)
    assert found.by_seed["b"].n == 2


def test_every_network_of_a_training_on_several_is_compared(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_training(tmp_path / f"a{seed}", 0.5, seed, name="a", beside={"b": 1.5})
    jobs = read_jobs([tmp_path])
    found = compare_jobs(jobs, resamples=300).trainings
    assert found is not None
    assert [group.label for group in found.groups] == ["ensemble of 2 networks", "a", "b"]
    assert [len(group.jobs) for group in found.groups] == [2, 2, 2]
    result = next(iter(found.groups[0].jobs.values())).training
    assert result is not None
    by_name = {label: own["auc"].mean for label, own in found.estimates.items()}
    assert by_name["b"] > by_name["a"]
    assert found.by_seed["b"].mean == pytest.approx(by_name["b"] - by_name["ensemble of 2 networks"])
    assert found.by_patient["b"].n == 30
    rows = {(row["network"], row["seed"]): row for row in rows_of(jobs)}
    assert rows["b", 0]["auc"] == result.ensembles["b"]["auc"]
    assert [rows[name, 0]["seconds"] for name in ("ensemble of 2 networks", "a", "b")] == [25.0, 12.5, 12.5]
    assert [rows[name, 0].get("params") for name in ("a", "b")] == [16128, None]


def test_a_training_on_one_network_beside_one_on_several(tmp_path: Path) -> None:
    write_training(tmp_path / "both", 0.5, name="a", beside={"b": 1.5})
    write_training(tmp_path / "c", 1.0, name="c")
    groups = groups_of(read_jobs([tmp_path]), "training")
    assert [len(group.jobs) for group in groups] == [1, 1, 1, 1]
    assert len({group.label for group in groups}) == 4


def test_trainings_on_other_patients_are_not_paired_over_them(tmp_path: Path) -> None:
    write_training(tmp_path / "a", 0.5, name="a")
    write_training(tmp_path / "b", 1.5, name="b", cases=40)
    found = compare_jobs(read_jobs([tmp_path])).trainings
    assert found is not None
    assert (found.by_patient, found.no_patients) == ({}, "the trainings were tested on different patients")


def test_a_training_of_a_searched_network_has_the_settings_of_its_search(sweep: Path) -> None:
    jobs = read_jobs([sweep])
    for job in jobs:
        assert job.search is not None
        folder = sweep.parent / f"train/{job.folder.name}"
        write_training(folder, 1.0, 0, name=f"searched {job.search.arch_id}", arch_id=job.search.arch_id)
        (folder / "config.yaml").write_text(f"arch: '{job.folder.relative_to(sweep.parent)}/arch.json'\nseed: 0\n")
    found = compare_jobs(read_jobs([sweep, sweep.parent / "train"]), resamples=20)
    assert found.trainings is not None
    assert [(group.label, list(group.jobs)) for group in found.trainings.groups] == [
        ("pop", [(0, 0), (1, 0), (2, 0)]),
        ("random", [(0, 0), (1, 0), (2, 0)]),
    ]
    rows = [row for row in rows_of(found.jobs) if row["kind"] == "training"]
    assert {row["search_seed"] for row in rows} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": DataFacts("nodules", "c" * 64, 9)}, "on nodules (cccccccc)"),
        ({"task": TaskSpec(outputs=3)}, "outputs=3"),
        ({"objectives": {"dice": "maximize"}}, "did not measure dice"),
    ],
)
def test_what_is_not_comparable_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    write_search(tmp_path / "b", [0.5, 0.6], overrides={"strategy": "b"}, **changes)  # type: ignore[arg-type]
    write_search(tmp_path / "a", [0.5, 0.6], overrides={"strategy": "a"})
    with pytest.raises(NASError) as raised:
        compare_jobs(
            read_jobs([tmp_path]) if "objectives" not in changes else read_jobs([tmp_path / "b", tmp_path / "a"])
        )
    assert message in str(raised.value)
    assert "; fix: " in str(raised.value)


def test_two_jobs_with_equal_settings_and_seed_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_search(tmp_path / f"{name}/s", [0.5, 0.6])
    with pytest.raises(NASError, match="equal settings and seed 0"):
        compare_jobs(read_jobs([tmp_path]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("arch.json", "{"),
        ("arch.json", "{}"),
        ("arch.json", "[1]"),
        ("trials.csv", "number,state\n0,complete\n"),
        (
            "trials.csv",
            "number,state,arch_id,genes,budget,auc,wall_seconds,worker,reason\n0,complete,a,1,0,high,1,0,\n",
        ),
        ("config.yaml", "a: [1"),
        ("config.yaml", "- 1"),
        ("job.json", "{"),
        ("job.json", '{"overrides": 3}'),
        ("result.json", "{}"),
    ],
)
def test_a_damaged_file_is_one_line(sweep: Path, name: str, text: str) -> None:
    (sweep / "seed=1,strategy=pop" / name).write_text(text)
    with pytest.raises(NASError) as raised:
        compare_jobs(read_jobs([sweep]))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NASError, match="without a finished search or training"):
        read_jobs([tmp_path / "empty"])
    with pytest.raises(NASError, match="does not exist"):
        read_jobs([tmp_path / "nowhere"])
    JobRecord("search", FAILED, 0.0, 0, {"seed": "0"}, {}, "no data").save(tmp_path / "empty")
    with pytest.raises(NASError, match="empty failed"):
        read_jobs([tmp_path / "empty"])


def test_a_failed_worker_of_a_finished_search_hides_nothing(sweep: Path) -> None:
    """The result was written after that worker began."""
    record = JobRecord("search", FAILED, 1.0, 0, {"strategy": "pop", "seed": "0"}, {"strategy": "pop"}, "killed")
    record.save(sweep / "seed=0,strategy=pop")
    assert all(job.state == "finished" for job in read_jobs([sweep]))
