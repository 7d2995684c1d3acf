"""The table of a training, in the terminal and as Markdown; and one table of several trainings."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nas.errors import NASError
from nas.metrics.metric import Metric
from nas.metrics.positive import decision_text
from nas.metrics.spread import with_seeds
from nas.retraining.differences import difference_lines_over_seeds
from nas.retraining.result import SIZES, TrainResult
from nas.retraining.unseen import UNKNOWN
from nas.utils.markdown_text import markdown_row, markdown_text, without_escapes
from nas.utils.text_table import aligned, terminal_width

TABLE = "table.md"
NOTHING, FIRST_COST = "–", "params (M)"


@dataclass(frozen=True)
class Row:
    """One system in a table.

    Attributes:
        system: Name of the system.
        metrics: Metric -> value.
        ci95: Metric -> 95 % interval; tables show that of their first metric.
        costs: Costs as `nas.cost.benchmark.benchmark` gives them.
        seeds: Number of seeds over which the metrics are means; 0 for a single training.
        deviation: Metric -> standard deviation over seeds.
    """

    system: str
    metrics: Mapping[str, float]
    ci95: Mapping[str, Sequence[float]] = field(default_factory=dict)
    costs: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 0
    deviation: Mapping[str, float] = field(default_factory=dict)

    def cells(self, columns: Sequence[Metric]) -> dict[str, str]:
        """Format the row: units stand in the headings, 10^6 parameters, 10^9 MACs, 10^6 bytes.

        Args:
            columns: The metrics of the table, the score first.

        Returns:
            Heading -> text.
        """
        cells = {"system": self.system} | ({"seeds": str(self.seeds)} if self.seeds else {})
        for number, metric in enumerate(columns):
            name, digits = metric.name, metric.digits
            text = f"{self.metrics[name]:.{digits}f}" if name in self.metrics else NOTHING
            if name in self.deviation:
                text += f" ± {self.deviation[name]:.{digits}f}"
            if number == 0 and name in self.ci95:
                low, high = self.ci95[name]
                text += f" [{low:.{digits}f}, {high:.{digits}f}]"
            cells[metric.heading] = text
        macs = self.costs.get("macs")
        cells[FIRST_COST] = _digits(self.costs.get("params"), 1e6)
        cells["MACs (G)"] = _digits(macs, 1e9)
        cells["FLOPs (G)"] = _digits(None if macs is None else 2 * macs, 1e9)
        cells["size (MB)"] = _digits(self.costs.get("bytes"), 1e6)
        cells["latency (ms)"] = _digits(self.costs.get("latency_ms", {}).get("median"), 1)
        cells["memory (MB)"] = _digits(self.costs.get("peak_memory_mb"), 1)
        cells["training (s)"] = _digits(self.costs.get("training_seconds"), 1)
        cells["training (TMAC)"] = _digits(self.costs.get("training_macs"), 1e12)
        return cells


def markdown(rows: Sequence[Row], caption: str, columns: Sequence[Metric], notes: Sequence[str] = ()) -> str:
    """Format rows as a GitHub table under its caption.

    Args:
        rows: The rows.
        caption: Text above the table.
        columns: The metrics of the table, the score first.
        notes: Lines below the table, such as the paired differences.

    Returns:
        Markdown; the notes are a list.
    """
    table = [row.cells(columns) for row in rows]
    headings = list(table[0])
    lines = [markdown_row(headings), markdown_row("---" if i == 0 else "---:" for i in range(len(headings)))]
    lines += [markdown_row(cells.values()) for cells in table]
    below = "\n" + "".join(f"- {markdown_text(line)}\n" for line in notes) if notes else ""
    return markdown_text(caption) + "\n\n" + "\n".join(lines) + "\n" + below


def terminal(
    rows: Sequence[Row], caption: str, columns: Sequence[Metric], width: int | None = None, lines: Sequence[str] = ()
) -> str:
    """Format rows as aligned blocks: scores of all systems, costs of the networks.

    Args:
        rows: The rows.
        caption: Text above the table.
        columns: The metrics of the table, the score first.
        width: Columns of the terminal; None for those of the present one, at most 100.
        lines: Lines below the table, such as the paired differences.

    Returns:
        Text; long names, lines and the caption are wrapped, columns that do not fit stand in further blocks.
    """
    table = _terminal([row.cells(columns) for row in rows], caption, width)
    return "\n\n".join([table, *_wrapped(lines, width)])


def _wrapped(lines: Sequence[str], width: int | None) -> list[str]:
    width = width or terminal_width()
    wrapped = [textwrap.fill(line, width, subsequent_indent="  ") for line in lines]
    return ["\n".join(wrapped)] if wrapped else []


def terminal_of(markdown_table: str, width: int | None = None) -> str:
    """Format a table that `markdown` wrote as `terminal` does.

    Args:
        markdown_table: Content of table.md; paragraphs may follow the table.
        width: Columns of the terminal; None for those of the present one, at most 100.

    Returns:
        Text.
    """
    caption, table, *paragraphs = markdown_table.strip().split("\n\n")
    lines = _rows_of(table)
    text = _terminal([dict(zip(lines[0], line, strict=True)) for line in lines[2:]], without_escapes(caption), width)
    return "\n\n".join([text, *([terminal_paragraphs("\n\n".join(paragraphs), width)] if paragraphs else [])])


def terminal_paragraphs(markdown_text: str, width: int | None = None) -> str:
    """Format paragraphs, lists and tables for a terminal.

    Args:
        markdown_text: Markdown that VoxNAS wrote.
        width: Columns of the terminal; None for those of the present one, at most 100.

    Returns:
        Text.
    """
    parts = []
    for paragraph in markdown_text.strip().split("\n\n"):
        items = [without_escapes(line.removeprefix("- ")) for line in paragraph.splitlines()]
        listed = all(line.startswith("- ") for line in paragraph.splitlines())
        if paragraph.startswith("| "):
            head, _, *rest = _rows_of(paragraph)
            cells = [dict(zip(head, row, strict=True)) for row in rest]
            parts.append(aligned(cells, head, width or terminal_width()))
            continue
        parts += _wrapped(items, width) if listed else [textwrap.fill(paragraph, width or terminal_width())]
    return "\n\n".join(parts)


def _rows_of(markdown_table: str) -> list[list[str]]:
    lines = [line.strip().removeprefix("| ").removesuffix(" |").split(" | ") for line in markdown_table.splitlines()]
    return [[without_escapes(cell) for cell in line] for line in lines]


def _terminal(table: Sequence[Mapping[str, str]], caption: str, width: int | None) -> str:
    width = width or terminal_width()
    headings = list(table[0])
    split = headings.index(FIRST_COST)
    costs = headings[split:]
    networks = [cells for cells in table if any(cells[name] != NOTHING for name in costs)]
    blocks = [textwrap.fill(caption, width), "", aligned(table, headings[:split], width)]
    if networks:
        blocks += ["", aligned(networks, [headings[0], *costs], width)]
    return "\n".join(blocks)


def caption(result: TrainResult, seeds: Sequence[int] = ()) -> str:
    """State under which conditions the numbers of a table were measured.

    Args:
        result: The result, or the first of several.
        seeds: Seeds of several results. If empty, that of the result.

    Returns:
        One line: data, protocol, split, seeds, sizes and units.
    """
    data, split = result.data, result.split
    parts = [
        f"{data['name']} ({data['sha256'][:8]}), {result.protocol}, split by {split['unit']} "
        f"({split['sha256'][:8]}), seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds or [result.seed]))}"
    ]
    if result.tested:
        parts.append(f"{result.tested['samples']} test samples of {result.tested['groups']} {split['unit']}s")
    parts += decision_text(result.decision, data.get("classes", ()), str(result.headline.get("system", result.name)))
    parts += [f"{metric.label} in {metric.unit}" for metric in result.columns if metric.unit]
    if split.get("overfit"):
        parts.append("trained, validated and tested on the same samples")
    if not result.search_patients_known:
        parts.append(UNKNOWN)
    of_a_mean = ", for a mean over networks also over these" if len(result.folds) > 1 else ""
    parts.append(f"[95 % interval, bootstrap over {split['unit']}s{of_a_mean}]")
    return "; ".join(parts)


def _digits(value: float | None, unit: float) -> str:
    """Three significant digits and never fewer than the number has before the point."""
    if value is None:
        return NOTHING
    scaled = value / unit
    return f"{scaled:.0f}" if abs(scaled) >= 100 else f"{scaled:#.3g}".rstrip(".")


def over_seeds(results: Mapping[str, TrainResult]) -> str:
    """Combine the results of several seeds into tables.

    A value is mean ± standard deviation over seeds. The interval is over patients and seeds
    (`nas.metrics.spread.with_seeds`). Below a table are the paired differences of each network's headline to the other
    systems of its trainings, and the warnings of the trainings.

    Args:
        results: File of each result -> the result.

    Returns:
        Markdown: one table for each data set, split and protocol.

    Raises:
        NASError: If two results are of one network and one seed, but differ.
    """
    tables: dict[tuple[str, str, str], dict[str, TrainResult]] = {}
    for source, result in results.items():
        key = (result.data["sha256"], result.split["sha256"], result.protocol)
        tables.setdefault(key, {})[source] = result
    return "\n".join(_table_over_seeds(members) for members in tables.values())


def _table_over_seeds(results: Mapping[str, TrainResult]) -> str:
    labels = _labels(results)
    every = list(results.values())
    columns = every[0].columns
    rows = []
    for label, members in _by_seed(results, labels).items():
        scores = {seed: {**one.mean, "ci95": one.ci95} for seed, one in members.items()}
        folds = len(next(iter(members.values())).folds)
        name = f"{label}, mean of {folds}" if folds > 1 else label
        rows.append(_mean_row(name, scores, columns, _costs([*members.values()])))
    rows += [_mean_row(name, scores, columns) for name, scores in _pooled_by_seed(results, labels).items()]
    seeds = sorted({one.seed for one in every})
    note = "±: standard deviation over seeds. A row that is no 'mean of' scores the mean probability over the rounds."
    if len(seeds) > 1:
        note += " Intervals and differences are over patients and seeds."
    return markdown(rows, f"{caption(every[0], seeds)}. {note}", columns, _lines_over_seeds(results, labels))


def _lines_over_seeds(results: Mapping[str, TrainResult], labels: Mapping[str, str]) -> list[str]:
    """Paired differences of each network, and the warnings of every training with its seed."""
    networks = _by_seed(results, labels)
    lines = [line for members in networks.values() for line in difference_lines_over_seeds([*members.values()])]
    for members in networks.values():
        lines += [f"warning, seed {seed}: {text}" for seed, one in members.items() for text in one.warnings]
    return list(dict.fromkeys(lines))


def _labels(results: Mapping[str, TrainResult]) -> dict[str, str]:
    """Source -> the network's name, with its id if two networks have one name."""
    ids: dict[str, set[str]] = {}
    for one in results.values():
        ids.setdefault(one.name, set()).add(one.arch_id)
    return {
        source: f"{one.name} ({one.arch_id})" if len(ids[one.name]) > 1 else one.name for source, one in results.items()
    }


def _by_seed(results: Mapping[str, TrainResult], labels: Mapping[str, str]) -> dict[str, dict[int, TrainResult]]:
    """Label -> seed -> result. One training may be in two results (alone, and as a member of an ensemble)."""
    networks: dict[str, dict[int, TrainResult]] = {}
    sources: dict[tuple[str, int], str] = {}
    for source, result in results.items():
        label, seed = labels[source], result.seed
        first = networks.setdefault(label, {}).setdefault(seed, result)
        other = sources.setdefault((label, seed), source)
        if first.mean != result.mean:
            raise NASError(
                f"two results of {label} with seed {seed}: {other} and {source}",
                "one result per seed, all with the same settings",
                "leave one of them out",
            )
    return networks


def _pooled(result: TrainResult) -> dict[str, Mapping[str, Any]]:
    """Ensembles and baselines by name."""
    own = f"{result.name}, all rounds"  # distinct from the row of its single networks
    ensembles = {own if name == result.name else name: scores for name, scores in result.ensembles.items()}
    return {**ensembles, **result.baselines}


def _pooled_by_seed(
    results: Mapping[str, TrainResult], labels: Mapping[str, str]
) -> dict[str, dict[int, Mapping[str, Any]]]:
    """Name -> seed -> scores. What several results state alike is one row; else each network has its own."""
    by_owner: dict[str, dict[str, dict[int, Mapping[str, Any]]]] = {}
    for source, result in results.items():
        for name, scores in _pooled(result).items():
            by_owner.setdefault(name, {}).setdefault(labels[source], {})[result.seed] = scores
    rows: dict[str, dict[int, Mapping[str, Any]]] = {}
    for name, owners in by_owner.items():
        merged = {seed: scores for members in owners.values() for seed, scores in members.items()}
        if all(merged[seed] == scores for members in owners.values() for seed, scores in members.items()):
            rows[name] = merged
        else:
            rows.update({f"{name}, beside {owner}": members for owner, members in owners.items()})
    return rows


def _mean_row(
    system: str,
    scores: Mapping[int, Mapping[str, Any]],
    columns: Sequence[Metric],
    costs: Mapping[str, Any] | None = None,
) -> Row:
    members = list(scores.values())
    first = columns[0].name
    values = {metric.name: np.array([float(one[metric.name]) for one in members]) for metric in columns}
    bounds = [one["ci95"][first] for one in members if first in one.get("ci95", {})]
    return Row(
        system,
        {metric: float(value.mean()) for metric, value in values.items()},
        {first: with_seeds(values[first].tolist(), bounds)} if len(bounds) == len(members) else {},
        costs or {},
        len(members),
        {metric: float(value.std(ddof=1)) for metric, value in values.items()} if len(members) > 1 else {},
    )


def _costs(results: Sequence[TrainResult]) -> dict[str, Any]:
    """Costs of one network under several seeds; latency and memory, as medians, only if all were measured alike."""
    every = [one.costs for one in results]
    costs: dict[str, Any] = {name: float(every[0][name]) for name in SIZES if name in every[0]}
    latencies = [one.get("latency_ms", {}) for one in every]
    conditions = {tuple(one.get(name) for name in ("device", "batch", "threads", "torch")) for one in latencies}
    if len(conditions) == 1 and all("median" in one for one in latencies):
        costs["latency_ms"] = {"median": float(np.median([one["median"] for one in latencies]))}
        if all("peak_memory_mb" in one for one in every):
            costs["peak_memory_mb"] = float(np.median([one["peak_memory_mb"] for one in every]))
    for name in ("training_seconds", "training_macs"):
        if all(name in one for one in every):
            costs[name] = float(np.mean([one[name] for one in every]))
    return costs
