"""The table of a training, in the terminal and as Markdown; and one table of several trainings.

python -m experiments.tables outputs/train/*/result.json
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.errors import NASError

METRICS = {"auc": "AUC", "accuracy": "accuracy", "sensitivity": "sens.", "specificity": "spec.", "f1": "F1"}
SEGMENTATION_METRICS = {"dice": "Dice", "hd95": "HD95", "surface_dice": "surface Dice"}
DETECTION_METRICS = {"map50": "mAP@0.5", "map": "mAP@0.5:0.95", "recall50": "recall@0.5"}
NOTHING = "–"
WIDTH = 100  # columns of a terminal


@dataclass(frozen=True)
class Row:
    """One system. metrics and ci95 (95 % intervals; that of the first metric is shown) as fractions, lengths as they
    are; costs as `nas.cost.benchmark` gives them.

    seeds: where the metrics are means over seeds, how many, and `deviation` is their standard deviation.
    """

    system: str
    metrics: Mapping[str, float]
    ci95: Mapping[str, Sequence[float]] = field(default_factory=dict)
    costs: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 0
    deviation: Mapping[str, float] = field(default_factory=dict)

    def cells(self) -> dict[str, str]:
        """Column -> text. Units stand in the column's name: 10^6 parameters, 10^9 MACs, 10^6 bytes."""
        cells = {"system": self.system} | ({"seeds": str(self.seeds)} if self.seeds else {})
        columns = columns_of(self.metrics)
        for name, column in columns.items():
            cells[column] = f"{self.metrics[name]:.3f}" if name in self.metrics else NOTHING
            if name in self.deviation:
                cells[column] += f" ± {self.deviation[name]:.3f}"
        first, heading = next(iter(columns.items()))
        if first in self.ci95:
            low, high = self.ci95[first]
            cells[heading] += f" [{low:.3f}, {high:.3f}]"
        macs = self.costs.get("macs")
        cells["params (M)"] = _digits(self.costs.get("params"), 1e6)
        cells["MACs (G)"] = _digits(macs, 1e9)
        cells["FLOPs (G)"] = _digits(None if macs is None else 2 * macs, 1e9)
        cells["size (MB)"] = _digits(self.costs.get("bytes"), 1e6)
        cells["latency (ms)"] = _digits(self.costs.get("latency_ms", {}).get("median"), 1)
        cells["memory (MB)"] = _digits(self.costs.get("peak_memory_mb"), 1)
        return cells


def columns_of(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Metric -> column, of the task that such metrics come from."""
    return SEGMENTATION_METRICS if "dice" in metrics else DETECTION_METRICS if "map50" in metrics else METRICS


def markdown(rows: Sequence[Row], caption: str) -> str:
    """A GitHub table under its caption."""
    table = [row.cells() for row in rows]
    columns = list(table[0])
    lines = [" | ".join(columns), " | ".join("---" if i == 0 else "---:" for i in range(len(columns)))]
    lines += [" | ".join(cells.values()) for cells in table]
    return caption + "\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


def terminal(rows: Sequence[Row], caption: str) -> str:
    """Two aligned blocks, at most 100 columns wide: what each system scores, and what each network costs.

    Long names and the caption go on in the next line.
    """
    table = [row.cells() for row in rows]
    columns = list(table[0])
    split = columns.index("params (M)")
    scores = _aligned(table, columns[:split])
    networks = [cells for row, cells in zip(rows, table, strict=True) if row.costs]
    blocks = [textwrap.fill(caption, WIDTH), "", scores]
    if networks:
        blocks += ["", _aligned(networks, [columns[0], *columns[split:]])]
    return "\n".join(blocks)


def caption(result: Mapping[str, Any], seeds: Sequence[int] = ()) -> str:
    """Data, split, protocol, seed and sizes: what the numbers of a table stand under. seeds: of several results."""
    data, split = result["data"], result["split"]
    parts = [
        f"{data['name']} ({data['sha256'][:8]}), {result['protocol']}, split by {split['unit']} "
        f"({split['sha256'][:8]}), seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds or [result['seed']]))}"
    ]
    if "tested" in result:
        tested = result["tested"]
        parts.append(f"{tested['samples']} test samples of {tested['groups']} {split['unit']}s")
    if "length_unit" in result:
        parts.append(f"HD95 in {result['length_unit']}")
    parts.append(f"[95 % interval, bootstrap over {split['unit']}s]")
    return "; ".join(parts)


def _digits(value: float | None, unit: float) -> str:
    """Three significant digits and never fewer than the number has before the point."""
    if value is None:
        return NOTHING
    scaled = value / unit
    return f"{scaled:.0f}" if abs(scaled) >= 100 else f"{scaled:#.3g}".rstrip(".")


def _aligned(table: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    first, *others = columns
    widths = {column: max(len(column), *(len(cells[column]) for cells in table)) for column in columns}
    room = WIDTH - sum(2 + widths[column] for column in others)
    widths[first] = min(widths[first], max(room, len(first)))
    lines = []
    for cells in ({column: column for column in columns}, *table):
        name, *rest = textwrap.wrap(cells[first], widths[first], subsequent_indent="  ", break_on_hyphens=False)
        values = [f"{name:<{widths[first]}}", *(f"{cells[column]:>{widths[column]}}" for column in others)]
        lines += ["  ".join(values).rstrip(), *rest]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def read_result(path: Path) -> dict[str, Any]:
    """Raises NASError for a file that is no result.json, or one of which a part is missing or damaged."""
    try:
        result = json.loads(path.read_text())
        over_seeds({str(path): result})  # reads every part that a table reads
    except KeyError as error:
        raise _no_result(f"{path} without {error}") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_result(f"{path} ({error})") from error
    return result


def _no_result(got: str) -> NASError:
    return NASError(got, "a result.json that run_train.py wrote", "check the path, or run the training again")


def over_seeds(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: one table for each data set, split and protocol, with mean ± standard deviation over seeds.

    results: where each was read -> what it says. The interval is over patients: the mean of the seeds' bounds, as the
    same patients are tested under every seed. Raises NASError for two results of one network under one seed.
    """
    tables: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for source, result in results.items():
        key = (result["data"]["sha256"], result["split"]["sha256"], result["protocol"])
        tables.setdefault(key, {})[source] = result
    return "\n".join(_table_over_seeds(members) for members in tables.values())


def _table_over_seeds(results: Mapping[str, Mapping[str, Any]]) -> str:
    labels = _labels(results)
    rows = []
    for label, members in _by_seed(results, labels).items():
        scores = {seed: {**one["mean"], "ci95": one.get("ci95", {})} for seed, one in members.items()}
        folds = len(next(iter(members.values())).get("folds", ()))
        rows.append(_mean_row(f"{label}, mean of {folds}" if folds > 1 else label, scores, _costs([*members.values()])))
    rows += [_mean_row(name, scores) for name, scores in _pooled_by_seed(results, labels).items()]
    every = list(results.values())
    seeds = sorted({int(one["seed"]) for one in every})
    note = "±: standard deviation over seeds. A row that is no 'mean of' scores the mean probability over the rounds."
    return markdown(rows, f"{caption(every[0], seeds)}. {note}")


def _labels(results: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Source -> the network's name, with its id where two networks have one name."""
    ids: dict[str, set[str]] = {}
    for one in results.values():
        ids.setdefault(one["name"], set()).add(one["arch_id"])
    return {
        source: f"{one['name']} ({one['arch_id']})" if len(ids[one["name"]]) > 1 else one["name"]
        for source, one in results.items()
    }


def _by_seed(
    results: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Label -> seed -> result. One training may be in two results (alone, and as a member of an ensemble)."""
    networks: dict[str, dict[int, Mapping[str, Any]]] = {}
    sources: dict[tuple[str, int], str] = {}
    for source, result in results.items():
        label, seed = labels[source], int(result["seed"])
        first = networks.setdefault(label, {}).setdefault(seed, result)
        other = sources.setdefault((label, seed), source)
        if first["mean"] != result["mean"]:
            raise NASError(
                f"two results of {label} with seed {seed}: {other} and {source}",
                "one result a seed, all with the same settings",
                "leave one of them out",
            )
    return networks


def _pooled(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Ensembles and baselines by name."""
    mine = f"{result['name']}, all rounds"  # not to be taken for the row of its single networks
    ensembles = {mine if name == result["name"] else name: one for name, one in result.get("ensembles", {}).items()}
    return {**ensembles, **result.get("baselines", {})}


def _pooled_by_seed(
    results: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Name -> seed -> scores. What several results state alike is one row; else each network has its own."""
    found: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for source, result in results.items():
        for name, scores in _pooled(result).items():
            found.setdefault(name, {}).setdefault(labels[source], {})[int(result["seed"])] = scores
    rows: dict[str, dict[int, Mapping[str, Any]]] = {}
    for name, owners in found.items():
        merged = {seed: scores for members in owners.values() for seed, scores in members.items()}
        if all(merged[seed] == scores for members in owners.values() for seed, scores in members.items()):
            rows[name] = merged
        else:
            rows.update({f"{name}, beside {owner}": members for owner, members in owners.items()})
    return rows


def _mean_row(system: str, scores: Mapping[int, Mapping[str, Any]], costs: Mapping[str, Any] | None = None) -> Row:
    members = list(scores.values())
    columns = columns_of(members[0])
    first = next(iter(columns))
    values = {metric: np.array([float(one[metric]) for one in members]) for metric in columns}
    bounds = [one["ci95"][first] for one in members if first in one.get("ci95", {})]
    return Row(
        system,
        {metric: float(value.mean()) for metric, value in values.items()},
        {first: np.mean(bounds, axis=0).tolist()} if len(bounds) == len(members) else {},
        costs or {},
        len(members),
        {metric: float(value.std(ddof=1)) for metric, value in values.items()} if len(members) > 1 else {},
    )


def _costs(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of one network under several seeds. Latency and memory, as medians, only where all were measured alike."""
    costs: dict[str, Any] = {
        name: float(results[0][name]) for name in ("params", "macs", "bytes") if name in results[0]
    }
    latencies = [one.get("latency_ms", {}) for one in results]
    conditions = {tuple(one.get(name) for name in ("device", "batch", "threads")) for one in latencies}
    if len(conditions) == 1 and all("median" in one for one in latencies):
        costs["latency_ms"] = {"median": float(np.median([one["median"] for one in latencies]))}
        if all("peak_memory_mb" in one for one in results):
            costs["peak_memory_mb"] = float(np.median([one["peak_memory_mb"] for one in results]))
    return costs
