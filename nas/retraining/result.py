"""result.json: the measurements of a training, as one value with load and save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.errors import NASError
from nas.metrics.metric import VOXELS, Metric, in_unit_of
from nas.retraining.calibration_text import calibration_line
from nas.retraining.verdict import PairedDifference
from nas.utils.files import read_json
from nas.utils.plain_table import html_lines, html_table
from nas.utils.sealed import SEAL, is_damaged, write_sealed

SIZES = ("params", "macs", "bytes")  # costs that are the same on every device
COSTS = (*SIZES, "latency_ms", "peak_memory_mb", "training_seconds", "training_macs")
OF_A_FOLD = ("fold", "n")  # entries of a fold that are no metrics
Bounds = tuple[float, float]


@dataclass(frozen=True)
class TrainResult:
    """Scores of a retrained network beside its baselines.

    Attributes:
        name: Name of the network in tables.
        arch_id: Id of its architecture.
        protocol: "holdout", "cross_validation" or "evaluation".
        folds: One entry for each round: fold (its name), n (test samples) and the metrics of its single network.
        mean: Metric -> mean over the folds.
        ci95: Metric -> 95 % interval of the mean, with the spread over networks and patients.
        data: name, sha256, n and classes of the data set.
        split: sha256 and unit (name of a group, usually "patient") of the split.
        seed: Seed of the training.
        costs: params, macs, bytes, latency_ms {median, p10, p90, device, ...}, peak_memory_mb, training_seconds and
            training_macs (forward MACs of all samples seen) of all folds together.
        ensembles: Name -> metrics of the pooled predictions, with their intervals as ci95.
        baselines: Name -> metrics of the baselines, in the same form.
        differences: Name of another system -> metric -> value and ci95 of headline minus it, on the same patients.
        metrics: The metrics as the task declares them, in the unit in which they were measured.
        tested: Number of samples and of groups that were tested; empty in files of earlier versions.
        versions: Versions of the packages that decide the numbers.
        length_unit: Unit of lengths, "mm" or "voxels"; None if no metric is a length.
        task: `Task.identity`; empty in files of earlier versions.
        search_patients_known: False if the search of a network does not record the patients that it saw.
        identity: Digest of everything that decides the result; empty in files of earlier versions.
        headline: system (a name in `ensembles`) and networks (their number) of the model that a user would use, whose
            scores come first; empty in files of earlier versions.
        decision: positive (the class whose sensitivity, specificity and F1 the metrics give) and thresholds (system ->
            decision threshold), if the task has them.
        warnings: Warnings about the numbers, one sentence each.
        calibration: Expected calibration error of the headline before and after temperature scaling, as
            `nas.retraining.calibration.calibration_of` gives it; empty if the task has no class probabilities.
        subgroups: Metrics of subgroups of the headline, as `nas.retraining.subgroups.subgroup_scores` gives them.
    """

    name: str
    arch_id: str
    protocol: str
    folds: Sequence[Mapping[str, Any]]
    mean: Mapping[str, float]
    ci95: Mapping[str, Bounds]
    data: Mapping[str, Any]
    split: Mapping[str, Any]
    seed: int
    costs: Mapping[str, Any] = field(default_factory=dict)
    ensembles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    differences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    tested: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    length_unit: str | None = None
    task: Mapping[str, Any] = field(default_factory=dict)
    search_patients_known: bool = True
    identity: str = ""
    headline: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    calibration: Mapping[str, Any] = field(default_factory=dict)
    subgroups: Sequence[Mapping[str, Any]] = ()

    @property
    def headline_scores(self) -> Mapping[str, Any]:
        """Metrics and ci95 of the headline; the mean over the folds, if the file has no pooled predictions."""
        system = self.headline.get("system", self.name)
        return self.ensembles.get(system) or {**self.mean, "ci95": self.ci95}

    @property
    def columns(self) -> tuple[Metric, ...]:
        """The metrics that tables show, the score first."""
        return tuple(metric for metric in self.metrics if metric.in_tables)

    @property
    def score_differences(self) -> list[tuple[str, PairedDifference]]:
        """Name of each other system, and the headline's score minus its score, on the same patients."""
        score = next(iter(self.columns), None)
        return [
            (name, PairedDifference(score, of_metric[score.name]["value"], of_metric[score.name]["ci95"]))
            for name, of_metric in self.differences.items()
            if score is not None and score.name in of_metric
        ]

    @property
    def lines(self) -> list[str]:
        """Lines below a table of the result: the paired differences in the score, then the warnings."""
        first = str(self.headline.get("system", self.name))
        differences = [found.line(first, other) for other, found in self.score_differences]
        calibration = calibration_line(self.calibration)
        warnings = (f"warning: {text}" for text in self.warnings)
        return [*differences, *([f"{first}: {calibration}"] if calibration else []), *warnings]

    def _repr_html_(self) -> str:
        """Show all scores in a notebook."""
        scored = [(f"{self.name}, mean", self.mean, self.ci95)]
        scored += [(name, scores, scores.get("ci95", {})) for name, scores in self.ensembles.items()]
        scored += [(name, scores, scores.get("ci95", {})) for name, scores in self.baselines.items()]
        rows = []
        for name, scores, ci95 in scored:
            cells = [f"{scores[metric.name]:.{metric.digits}f}" for metric in self.columns]
            score = self.columns[0]
            if score.name in ci95:
                low, high = ci95[score.name]
                cells[0] += f" [{low:.{score.digits}f}, {high:.{score.digits}f}]"
            rows.append([name, *cells])
        title = f"{self.data['name']}, {self.protocol}, seed {self.seed}"
        return html_table(["system", *(metric.label for metric in self.columns)], rows, title) + html_lines(self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return the content of result.json.

        Returns:
            JSON values; costs stand at the top level, and absent parts are left out.
        """
        content: dict[str, Any] = {
            "name": self.name,
            "arch_id": self.arch_id,
            **self.costs,
            "protocol": self.protocol,
            **({"headline": dict(self.headline)} if self.headline else {}),
            "folds": [dict(fold) for fold in self.folds],
            "mean": dict(self.mean),
            "ci95": dict(self.ci95),
            "ensembles": dict(self.ensembles),
            "baselines": dict(self.baselines),
            "differences": dict(self.differences),
            "data": dict(self.data),
            "split": dict(self.split),
            "tested": dict(self.tested),
            "seed": self.seed,
            "versions": dict(self.versions),
            "task": dict(self.task),
            "metrics": [asdict(metric) for metric in self.metrics],
        }
        if not self.search_patients_known:
            content["search_patients_known"] = False
        if self.warnings:
            content["warnings"] = list(self.warnings)
        if self.calibration:
            content["calibration"] = dict(self.calibration)
        if self.subgroups:
            content["subgroups"] = [dict(entry) for entry in self.subgroups]
        if self.identity:
            content["identity"] = self.identity
        if self.decision:
            content["decision"] = dict(self.decision)
        return content if self.length_unit is None else {**content, "length_unit": self.length_unit}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: str = "result.json") -> TrainResult:
        """Check the content of a result.json.

        Args:
            content: The parsed file.
            source: Its file, for messages.

        Returns:
            The result.

        Raises:
            NASError: If a part that tables need is missing or of another form.
        """
        try:
            result = cls(
                name=str(content["name"]),
                arch_id=str(content["arch_id"]),
                protocol=str(content["protocol"]),
                folds=list(content.get("folds", ())),
                mean=_numbers(content["mean"]),
                ci95=_intervals(content.get("ci95", {})),
                data={**content["data"], "name": content["data"]["name"], "sha256": content["data"]["sha256"]},
                split={**content["split"], "sha256": content["split"]["sha256"], "unit": content["split"]["unit"]},
                seed=int(content["seed"]),
                costs=_costs(content),
                ensembles=_scored(content.get("ensembles", {})),
                baselines=_scored(content.get("baselines", {})),
                differences=dict(content.get("differences", {})),
                metrics=_declared(content),
                tested={key: int(content["tested"][key]) for key in ("samples", "groups")}
                if content.get("tested")
                else {},
                versions=dict(content.get("versions", {})),
                length_unit=content.get("length_unit"),
                task=dict(content.get("task", {})),
                search_patients_known=bool(content.get("search_patients_known", True)),
                identity=str(content.get("identity", "")),
                headline=dict(content.get("headline", {})),
                decision=_decision(content.get("decision", {})),
                warnings=tuple(map(str, content.get("warnings", ()))),
                calibration=dict(content.get("calibration", {})),
                subgroups=[dict(entry) for entry in content.get("subgroups", ())],
            )
            for scores in (result.mean, *result.ensembles.values(), *result.baselines.values()):
                for metric in result.columns:
                    float(scores[metric.name])
        except KeyError as error:
            raise _no_result(f"{source} without {error}") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise _no_result(f"{source} ({error})") from error
        return result

    def save(self, path: Path) -> None:
        """Write result.json atomically.

        Args:
            path: The file.
        """
        write_sealed(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> TrainResult:
        """Read a result.json.

        Args:
            path: The file.

        Returns:
            The result.

        Raises:
            NASError: If the file is missing, is no result.json, or does not match its checksum.
        """
        try:
            content = read_json(path)
        except (OSError, ValueError) as error:
            raise _no_result(f"{path} ({error})") from error
        if not isinstance(content, dict):
            raise _no_result(f"{path} of type {type(content).__name__}")
        result = cls.from_json(content, str(path))
        if is_damaged(path, content):
            raise NASError(
                f"{path}, whose content does not match its checksum ({SEAL})",
                "the file as the training wrote it",
                "copy it again, or delete it and repeat the training command, which computes it again",
            )
        return result


def _no_result(got: str) -> NASError:
    return NASError(got, "a result.json that run_train.py wrote", "check the path, or run the training again")


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in content.items()}


def _intervals(content: Mapping[str, Any]) -> dict[str, Bounds]:
    found = {}
    for name, bounds in content.items():
        low, high = bounds
        found[str(name)] = (float(low), float(high))
    return found


def _scored(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics of several systems, each with its intervals."""
    found: dict[str, dict[str, Any]] = {}
    for name, scores in content.items():
        intervals = {"ci95": _intervals(scores["ci95"])} if "ci95" in scores else {}
        found[str(name)] = {**_numbers({key: value for key, value in scores.items() if key != "ci95"}), **intervals}
    return found


def _decision(content: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"positive": str(content["positive"])} if "positive" in content else {}
    return found | ({"thresholds": _numbers(content["thresholds"])} if "thresholds" in content else {})


def _costs(content: Mapping[str, Any]) -> dict[str, Any]:
    costs = {name: content[name] for name in COSTS if name in content}
    if "latency_ms" in costs:
        costs["latency_ms"] = dict(costs["latency_ms"])
    for name, cost in costs.items():
        value = cost.get("median") if isinstance(cost, Mapping) else cost
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise TypeError(f"a number as {name}, but {value!r:.40}")
    return costs


def _declared(content: Mapping[str, Any]) -> tuple[Metric, ...]:
    """Return the metrics that the file declares.

    A file of an earlier version declares none; it is of one of the tasks of that version.
    """
    if "metrics" in content:
        return tuple(Metric(**metric) for metric in content["metrics"])
    from nas.tasks import classification, detection, segmentation  # these import torch: only for old files

    known = (segmentation.METRICS, detection.METRICS, classification.METRICS)
    found = next((metrics for metrics in known if metrics[0].name in content["mean"]), classification.METRICS)
    return in_unit_of(found, content.get("length_unit") != VOXELS)
