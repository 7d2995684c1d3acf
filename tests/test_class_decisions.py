"""Rare positives and the positive class: weights, balanced batches, decision thresholds, and how tables name them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn import metrics as sk

from nas.context import TaskSetup
from nas.data.loading import VolumeSet, balanced_order
from nas.data.sample import Sample
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.data.store_writer import write_store
from nas.errors import NASError
from nas.metrics.bootstrap import GroupBootstrap, best_threshold
from nas.metrics.positive import doubtful_positive, suggests_negative
from nas.report.data_facts import summarise_data
from nas.report.data_page import headlines
from nas.report.train import train_report
from nas.retraining.folds import FoldPrediction
from nas.retraining.result import TrainResult
from nas.retraining.scoring import Scorer, System
from nas.retraining.summary import summarise
from nas.retraining.tables import caption
from nas.tasks.base import task_of
from nas.tasks.classification import Classification
from nas.tasks.segmentation import Segmentation
from nas.training.loop import fit, training_identity
from nas.training.settings import TrainingSettings
from search_spaces.resnet3d import ResNet3DSpace

CPU = torch.device("cpu")


def store_of(
    folder: Path, classes: tuple[str, str] = ("normal", "abnormal"), rare: int = 4, common: int = 28
) -> VolumeStore:
    """`common` of the first class and `rare` of the second, which are a little brighter."""
    rng = np.random.default_rng(0)

    def samples() -> list[Sample]:
        found = []
        for number in range(common + rare):
            label = int(number >= common)
            volume = (rng.normal(0, 1, (1, 8, 8, 8)) + label).astype(np.float32)
            found.append(Sample(f"s{number}", volume, label, f"p{number}", (1.0,) * 3))
        return found

    return write_store(folder / "store.h5", samples(), name="drawn", classes=classes, provenance={})


# ---- G13


def test_G13_weights_are_those_of_torch_up_to_their_scale() -> None:
    label_N = np.array([0] * 300 + [1] * 10)
    logits, y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
    plain = Classification()
    assert plain.for_training(label_N) is plain
    auto = Classification(class_weights="auto").for_training(label_N)
    listed = Classification(class_weights=[1, 30]).for_training(label_N)
    torch.testing.assert_close(auto.loss(logits, y), listed.loss(logits, y))  # 300 : 10
    expected = F.cross_entropy(logits, y, torch.tensor([1.0, 30.0]), reduction="sum") / 64
    share = (300 * 1 + 10 * 30) / 310  # the mean weight over the training part
    torch.testing.assert_close(listed.loss(logits, y), expected / share)
    with pytest.raises(NASError, match=r"task.class_weights=\[1, 2, 3\] for 2 classes"):
        Classification(class_weights=[1, 2, 3])
    for wrong in ("even", [1, 0], [1, -1], [1], True):
        with pytest.raises(NASError, match="class_weights"):
            Classification(class_weights=wrong)  # type: ignore[arg-type]


def test_G13_balanced_batches_hold_as_many_of_each_class(tmp_path: Path) -> None:
    label_N = np.array([0] * 23 + [1] * 4 + [2] * 3)
    order = balanced_order(label_N, torch.Generator().manual_seed(0))
    assert Counter(label_N[order].tolist()) == {0: 10, 1: 10, 2: 10}
    assert max(Counter(order[label_N[order] == 0].tolist()).values()) == 1  # the frequent class: each at most once
    assert set(Counter(order[label_N[order] == 1].tolist()).values()) == {2, 3}
    again = balanced_order(label_N, torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(order, again)
    store = store_of(tmp_path)
    part = VolumeSet(store, range(32), CPU)
    for rank in range(2):
        ys = [
            y for _, y in part.batches(8, generator=torch.Generator().manual_seed(1), rank=rank, world=2, balanced=True)
        ]
        assert sum(map(len, ys)) == 16
    whole = torch.cat([y for _, y in part.batches(8, generator=torch.Generator().manual_seed(1), balanced=True)])
    assert Counter(whole.tolist()) == {0: 16, 1: 16}


def test_G13_the_threshold_of_the_best_balanced_accuracy() -> None:
    """The oracle: scikit-learn's ROC curve has no larger index."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        positive = rng.random(60) < 0.2
        positive[:2] = [True, False]
        score = np.round(rng.normal(0.3 + 0.1 * positive, 0.1).clip(0.01, 0.99), 2)
        threshold = best_threshold(score, positive)
        false_positive, true_positive, _ = sk.roc_curve(positive, score)
        found = sk.balanced_accuracy_score(positive, score >= threshold)
        assert 2 * found - 1 == pytest.approx((true_positive - false_positive).max())
        assert threshold not in score
    assert best_threshold(np.full(4, 0.2), np.array([True, False, True, False])) == 0.5


def rare_prediction(label_N: np.ndarray) -> np.ndarray:
    """AUC 1, but all probabilities are far below 0.5, as after a training without weights."""
    score = 0.01 + 0.05 * label_N + np.random.default_rng(0).uniform(0, 0.01, len(label_N))
    return np.column_stack([1 - score, score])


def test_G13_a_threshold_finds_what_half_misses() -> None:
    label = np.array([0] * 50 + [1] * 4)
    prob = rare_prediction(label)
    assert Classification().score(prob, label).over()["sensitivity"] == 0
    task = Classification(threshold="validation", temperature=None).chosen_on(lambda: prob, label)
    assert 0.02 < task.inference["threshold"] < 0.06
    found = task.score(prob, label).over()
    assert (found["auc"], found["sensitivity"], found["specificity"], found["f1"]) == (1, 1, 1, 1)
    assert task.score(prob, label).over(np.arange(len(label))) == pytest.approx(found)  # the fast way of the bootstrap
    again = task_of(
        {"class": "nas.tasks.Classification", "spec": {"in_channels": 1, "outputs": 2, "dims": 3}}
        | dict(task.inference)
    )
    assert again.inference == task.inference
    columns = {"label": np.array(["a", "b"])[label], **task.score(prob, label).columns(("a", "b"))}
    texts = {name: values.astype(str) for name, values in columns.items()}
    restored = Classification(threshold="validation").from_columns(texts, ("a", "b"))
    assert restored.over() == pytest.approx(found, abs=1e-5)
    for wrong in (0, 1, "test", -0.5):
        with pytest.raises(NASError, match="threshold"):
            Classification(threshold=wrong)  # type: ignore[arg-type]
    with pytest.raises(NASError, match=r"task.threshold=0.3 for 3 classes"):
        Classification(outputs=3, threshold=0.3)


def test_G13_settings_are_part_of_the_identities(tmp_path: Path) -> None:
    part = VolumeSet(store_of(tmp_path), range(32), CPU)

    def identity(task: Classification, **settings: str) -> str:
        return training_identity("net", task, TrainingSettings(**settings), False, 0, part, part).digest()  # type: ignore[arg-type]

    different = [
        identity(Classification()),
        identity(Classification(), sampler="balanced"),
        *(
            identity(Classification(**{name: value}))  # type: ignore[arg-type]
            for name, value in (
                ("positive", "normal"),
                ("class_weights", "auto"),
                ("class_weights", [1, 2]),
                ("threshold", "validation"),
                ("threshold", 0.25),
            )
        ),
    ]
    assert len(set(different)) == len(different)
    assert "sampler" not in TrainingSettings().identity  # studies of earlier versions continue
    assert TrainingSettings(sampler="balanced").identity["sampler"] == "balanced"


class Bright(torch.nn.Module):
    """Logits from the mean of the volume."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(1, 2)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return self.head(x_BCDHW.mean(dim=(1, 2, 3, 4))[:, None])


@pytest.mark.parametrize(
    ("task", "sampler"), [({"class_weights": "auto"}, "shuffled"), ({}, "balanced"), ({}, "shuffled")]
)
def test_G13_weights_and_balanced_batches_reach_the_training(
    tmp_path: Path, task: dict[str, str], sampler: str
) -> None:
    part = VolumeSet(store_of(tmp_path), range(32), CPU)
    torch.manual_seed(0)
    model, settings = Bright(), TrainingSettings(epochs=20, batch_size=8, lr=0.2, sampler=sampler, precision="fp32")
    priors = []

    def on_epoch(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        priors.append(model(torch.full((1, 1, 8, 8, 8), 0.5)).softmax(1)[0, 1].item())  # half-way between the classes

    fit(model, Classification(**task), part, part, settings, seed=0, device=CPU, on_epoch=on_epoch)  # type: ignore[arg-type]
    assert (priors[-1] > 0.42) == bool(task or sampler == "balanced"), priors


def test_G13_balanced_batches_are_for_classes(tmp_path: Path) -> None:
    volume = np.zeros((1, 8, 8, 8), dtype=np.float32)
    masks = [Sample(f"{n}", volume + n, 0, f"{n}", mask_DHW=(volume[0] + n % 2).astype(np.uint8)) for n in range(4)]
    store = write_store(tmp_path / "m.h5", masks, name="m", classes=("a", "b"), provenance={})
    part = VolumeSet(store, range(4), CPU)
    with pytest.raises(NASError, match=r"training.sampler=balanced for data of segmentation"):
        fit(Bright(), Segmentation(), part, part, TrainingSettings(sampler="balanced"), seed=0, device=CPU)


def result_of(
    store: VolumeStore, task: Classification, thresholds: tuple[float | None, ...] = (None, None)
) -> TrainResult:
    rows = np.arange(len(store))
    prob = rare_prediction(store.labels)
    tested = [FoldPrediction(f"valid{n}", rows, prob.copy(), one) for n, one in enumerate(thresholds)]
    setting = TaskSetup(Split(store, folds=3), task, CPU)
    scorer = Scorer(store, setting.task, rows, 20, 0)
    main = System("net", rows, prob, tested)
    base = System("features", rows, prob.copy())
    facts = {"arch_id": "x", "protocol": "holdout", "seed": 0, "search_patients_known": True}
    return summarise(scorer, main, [main], [base], setting, **facts)


def test_G13_the_threshold_is_named_in_the_caption(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    result = result_of(store, Classification(threshold="validation"), (0.03, 0.05))
    assert "called abnormal from a probability of 0.04, the decision threshold of the network; rows" in caption(result)
    assert result.ensembles["net"]["sensitivity"] == 1
    assert result.baselines["features"]["sensitivity"] == 0
    assert [fold["sensitivity"] for fold in result.folds] == [1, 1]
    train_report(
        tmp_path / "report.html",
        title="T",
        space=(space := ResNet3DSpace(widths=(4,), depths=((1,), (1,)))),
        arch=space.sample(np.random.default_rng(0)),
        result=result.to_json(),
        table_rows=[{"system": "net"}],
        metrics=result.metrics,
    )
    page = (tmp_path / "report.html").read_text()
    assert "Positive class abnormal (of sensitivity, specificity and F1). Called abnormal from a prob" in page
    assert "Sensitivity, specificity and F1 are those of the class abnormal." in page
    again = TrainResult.from_json(result.to_json())
    assert caption(again) == caption(result)
    assert "threshold" not in caption(result_of(store, Classification()))


# ---- G15


def test_G15_the_positive_class_by_name() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 80)
    prob = np.column_stack([p := (0.5 + 0.2 * (label == 0) + rng.normal(0, 0.2, 80)).clip(0, 1), 1 - p])
    classes, chosen = ("abnormal", "normal"), prob.argmax(axis=1)
    second = Classification().score(prob, label)
    first = Classification(positive="abnormal").for_classes(classes).score(prob, label)
    for scores, number in ((second, 1), (first, 0)):
        for found in (scores.over(), scores.over(np.arange(80))):
            assert found["sensitivity"] == pytest.approx(sk.recall_score(label, chosen, pos_label=number))
            assert found["specificity"] == pytest.approx(sk.recall_score(label, chosen, pos_label=1 - number))
            assert found["f1"] == pytest.approx(sk.f1_score(label, chosen, pos_label=number))
            assert found["auc"] == pytest.approx(sk.roc_auc_score(label, prob[:, 1]))
            assert found["log_loss"] == pytest.approx(sk.log_loss(label, prob))
    with pytest.raises(NASError, match=r"task.positive=ill; expected one of the classes abnormal, normal"):
        Classification(positive="ill").for_classes(classes)
    with pytest.raises(NASError, match=r"task.positive=a for 3 classes"):
        Classification(outputs=3, positive="a")
    assert Classification(positive=1).for_classes(("1", "2")).positive_class(("1", "2")) == "1"  # a name, no position
    with pytest.raises(NASError, match="without the names of the classes"):
        Classification(positive="normal").score(prob, label)


@pytest.mark.parametrize(
    ("classes", "positive", "other"),
    [
        (("abnormal", "normal"), "normal", "abnormal"),
        (("Malignant", "Benign"), "Benign", "Malignant"),
        (("cancer", "non-cancer"), "non-cancer", "cancer"),
        (("cancer", "no_cancer"), "no_cancer", "cancer"),
        (("case", "healthyControl"), "healthyControl", "case"),
        (("+", "negative"), "negative", "+"),
        (("benign", "malignant"), "malignant", ""),
        (("normal", "abnormal"), "abnormal", ""),
        (("nodule", "mass"), "mass", ""),
        (("normal", "control"), "control", ""),
        (("0", "1"), "1", ""),
    ],
)
def test_G15_names_that_suggest_the_opposite(classes: tuple[str, str], positive: str, other: str) -> None:
    assert doubtful_positive(positive, classes) == other
    assert suggests_negative(positive) == bool(other) or positive == "control"


def test_G15_captions_name_the_positive_class(tmp_path: Path) -> None:
    store, named = store_of(tmp_path, ("abnormal", "normal")), "(of sensitivity, specificity and F1)"
    text = caption(result_of(store, Classification()))
    assert f"positive class normal {named}, although its name suggests a negative;" in text
    text = caption(result_of(store, Classification(positive="abnormal")))
    assert f"positive class abnormal {named};" in text
    setting = TaskSetup(Split(store, folds=3), Classification(), CPU)
    lines = headlines(setting, summarise_data(setting))
    assert "The positive class is normal." in lines[1]
    assert lines[2] == (
        "Warning: The positive class is normal, whose name suggests a negative; task.positive=abnormal takes the other."
    )
    chosen = TaskSetup(setting.split, Classification(positive="abnormal"), CPU)
    assert not any("suggests" in line for line in headlines(chosen, summarise_data(chosen)))


def test_G15_intervals_are_of_the_same_class(tmp_path: Path) -> None:
    store = store_of(tmp_path, ("abnormal", "normal"))
    task = Classification(positive="abnormal").for_classes(store.classes)
    scores = task.score(rare_prediction(store.labels), store.labels)
    low, high = GroupBootstrap(store.groups, store.labels, 50).interval(scores.over)["sensitivity"]
    assert low <= scores.over()["sensitivity"] == 1 <= high
