"""The end of `voxnas auto`: the answer in two sentences, the steps with their times, and the reason of each choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from experiments.auto.limits import params_of
from experiments.auto.plan_step import MODEL, NAME, PLAN, REFERENCE, SEARCH
from experiments.auto.steps import Answer, Auto
from nas.artifact import load
from nas.html.page import Cell, facts, section, table, warning_list, write_page
from nas.inference.model_spec import RESULT
from nas.metrics.metric import Metric
from nas.planning.plan import in_grammar
from nas.retraining.answer import answer as sentences
from nas.retraining.result import TrainResult
from nas.utils.duration import in_words
from nas.utils.files import for_shell, from_here

REPORT = "report.html"
MOST_SHOWN = 5  # suspicious cases


@dataclass(frozen=True)
class Ending:
    """The end of a run.

    Args:
        answer: The result in two sentences.
        command: The next command.
        lines: Further lines for a terminal.
    """

    answer: str
    command: str
    lines: tuple[str, ...]


def write_report(auto: Auto, chosen: Answer) -> Ending:
    """Write report.html into the output folder.

    Args:
        auto: The run, whose steps have ended.
        chosen: Its answer.

    Returns:
        What the command prints.
    """
    result = TrainResult.load(chosen.folder / RESULT)
    result = beside_reference(auto, chosen, result)
    text = sentences(result)
    command = _command(auto, chosen)
    networks = _sizes(auto, chosen)
    used, limit = auto.clock.used, auto.clock.limit
    lead = (
        f"Made from {escape(str(auto.request.data))} in {in_words(used)} of {in_words(limit)}. Scores above are "
        f"<strong>test scores</strong> of {result.tested.get('samples', 0)} cases that no training and no choice has "
        "seen; all others on this page are validation scores."
    )
    body = [
        facts(_facts(auto, chosen, result, networks), id_first=False),
        warning_list([*result.warnings, *_suspicious(auto)]),
        section("What was done when", _resumed(auto), _steps(auto)),
        section("Networks", chosen.why, _networks(auto, chosen, result)),
        section("Parts", "", _parts(auto, chosen)),
        section(
            "What each choice rests on",
            f"Settings of {PLAN}, which may be edited; a run in another folder with that file uses them. Epochs and "
            "trials are upper limits: the steps above state those that fitted into the time.",
            _decisions(auto),
        ),
    ]
    write_page(
        auto.out / REPORT,
        kicker="From a folder to a model",
        title=auto.request.data.resolve().stem,
        answer=text,
        command=command,
        lead=lead,
        body=[part for part in body if part],
    )
    return Ending(text, command, (chosen.why, f"wrote {from_here(auto.out / REPORT)} in {in_words(used)}"))


def beside_reference(auto: Auto, chosen: Answer, result: TrainResult) -> TrainResult:
    """Compare the answer with the planned reference network on the same test cases.

    Args:
        auto: The run.
        chosen: Its answer.
        result: The result of the answer.

    Returns:
        The result with the reference network as a baseline; the result itself if the reference is the answer.
    """
    if chosen.folder.name == REFERENCE:
        return result
    reference = TrainResult.load(auto.out / REFERENCE / RESULT)
    beside = "the planned reference network"
    if chosen.networks == (auto.network.arch.id,):
        beside = f"its first training of {auto.clock.facts(REFERENCE)['epochs']} epochs on one fold"
    return replace(result, baselines={beside: reference.headline_scores}, differences={beside: auto.difference(chosen)})


def _command(auto: Auto, chosen: Answer) -> str:
    model = for_shell(chosen.folder)
    out = "masks" if auto.planned.task == "segmentation" else "predictions.csv"
    return f"voxnas predict {model} SCANS --out {out}"


def _sizes(auto: Auto, chosen: Answer) -> list[int]:
    """Parameters of each network of the answer."""
    task = auto.network.task
    return [params_of((one := auto.file_of(chosen, name)).space, one.arch, task) for name in chosen.networks]


def _facts(auto: Auto, chosen: Answer, result: TrainResult, params: list[int]) -> list[tuple[str, str, str]]:
    metric, scores = result.columns[0], result.headline_scores
    trainings = chosen.rounds * len(chosen.networks)
    bounds = scores.get("ci95", {}).get(metric.name)
    note = f"95 % interval {_shown(metric, bounds[0])} to {_shown(metric, bounds[1])}" if bounds else ""
    folds = f"{chosen.rounds} fold{'s' * (chosen.rounds > 1)}"
    limit = auto.request.max_params
    most = f"at most {limit:,.0f} in each" if limit is not None else "of all trained networks of the answer"
    return [
        (f"Test {metric.label}", _shown(metric, scores[metric.name]), note),
        ("Trainings", f"{trainings}", f"{len(chosen.networks)} network{'s' * (len(chosen.networks) > 1)} on {folds}"),
        ("Parameters", f"{chosen.rounds * sum(params):,}", most),
        ("Running time", in_words(auto.clock.used), f"of {in_words(auto.clock.limit)}"),
    ]


def _shown(metric: Metric, value: float) -> str:
    return f"{value:.{metric.digits}f}"


def _suspicious(auto: Auto) -> list[str]:
    found = [f"Look at {name}: {text}." for name, text in auto.planned.fingerprint.get("suspicious", {}).items()]
    more = len(found) - MOST_SHOWN
    others = [f"Look also at {more} more cases, which {PLAN} names."] if more > 0 else []
    return [*found[:MOST_SHOWN], *others]


def _resumed(auto: Auto) -> str:
    runs = auto.clock.runs
    return f"In {runs} runs; the time between them does not count." if runs > 1 else ""


def _steps(auto: Auto) -> str:
    head = [Cell("step"), Cell("begun after", number=True), Cell("took", number=True), Cell("what")]
    rows = []
    for name, own in auto.clock.steps.items():
        begun, ended = own["begun_s"], own.get("ended_s", auto.clock.used)
        rows.append(
            [
                Cell(name.removesuffix(".yaml")),
                Cell(in_words(begun), number=True),
                Cell(in_words(ended - begun), number=True),
                Cell(_what(auto, name, own)),
            ]
        )
    return table(head, rows)


def _what(auto: Auto, name: str, own: Mapping[str, Any]) -> str:
    if name == PLAN:
        return f"{auto.planned.fingerprint.get('cases', 0)} cases read, training steps timed"
    if name == REFERENCE:
        shorter = own["epochs"] < own["wanted"]
        why = f", of {own['wanted']} planned, as an epoch takes {own['epoch_s']:.2g} s" if shorter else ""
        return f"the planned network on the first fold, {own['epochs']} epochs{why}; tested"
    if name == SEARCH:
        if not own["trials"]:
            return "left out, as the time was too short for it"
        most = own.get("most_trials", own["trials"])
        return (
            f"{own['ended_trials']} of {most} trials of up to {own['epochs']} epochs, {own['workers']} at a time; "
            f"{in_words(own['seconds'])} were planned"
        )
    if name == "retraining":
        if not any(own["trained"]):
            return "none, as the time was too short for it"
        folds = ", ".join(map(str, own["trained"]))
        return f"{own['epochs']} epochs; folds of each network: {folds} of {len(auto.rounds)}"
    if name == "choice":
        return own["why"]
    return "the answer on the test fold"


def _networks(auto: Auto, chosen: Answer, result: TrainResult) -> str:
    label = result.columns[0].label
    head = [Cell("network"), Cell("parameters", number=True), Cell("folds", number=True)]
    head += [Cell(f"{label}, search", number=True), Cell(f"{label}, choice", number=True), Cell("genes")]
    digits, rows, marks = result.columns[0].digits, [], {}
    scores = auto.clock.facts("choice").get("scores", {})
    for number, (name, network, folds, searched) in enumerate(_every(auto)):
        own = scores.get(NAME if number == 0 else name)
        genes = ", ".join(
            f"{gene.name} {gene.choices[index]}"
            for gene, index in zip(network.space.genes, network.arch.genes, strict=True)
        )
        rows.append(
            [
                Cell(network.name if number == 0 else name, code=number > 0),
                Cell(f"{params_of(network.space, network.arch, network.task):,}", number=True),
                Cell(str(folds), number=True),
                Cell("" if searched is None else f"{searched:.{digits}f}", number=True),
                Cell("" if own is None else f"{own:.{digits}f}", number=True),
                Cell(genes),
            ]
        )
        if (number == 0) == (chosen.folder.name == REFERENCE) and network.arch.id in chosen.networks:
            marks[number] = "chosen"
    return table(head, rows, marks)


def _every(auto: Auto) -> Iterator[tuple[str, Any, int, float | None]]:
    """Id, network, folds and score in the search of the reference and the retrained networks."""
    yield auto.network.arch.id, auto.network, 1, None
    own = auto.clock.facts("retraining")
    for name, count in zip(own.get("networks", ()), own.get("trained", ()), strict=True):
        path = auto.out / MODEL / "networks" / f"{name}.json"
        if count and path.is_file():
            network = load(path)
            yield name, network, count, network.metrics.get(auto.setting.task.score_name)


def _parts(auto: Auto, chosen: Answer) -> str:
    texts = {
        "plan.yaml": "the settings with their reasons, and the facts of the data",
        f"{chosen.folder.name}/report.html": "test of the answer: table, curves, examples, settings",
        f"{chosen.folder.name}": "the trained networks, for voxnas predict, evaluate and export",
        f"{REFERENCE}/report.html": "test of the planned reference network",
        f"{REFERENCE}/data.html": "the data: sizes, classes, pictures",
        f"{SEARCH}/report.html": "the search: trials, front, settings",
        "log.txt": "what the steps printed",
    }
    rows = [
        f'<li><a href="{escape(name)}">{escape(name)}</a>: {escape(text)}</li>'
        for name, text in texts.items()
        if (auto.out / name).exists()
    ]
    return f"<ul>{''.join(rows)}</ul>"


def _decisions(auto: Auto) -> str:
    head = [Cell("setting"), Cell("value"), Cell("reason")]
    rows = []
    for one in auto.planned.decisions:
        key = f"{one.key} ({one.command})" if one.command else one.key
        rows.append([Cell(key, code=True), Cell(in_grammar(one.value)), Cell(one.reason or "set by hand")])
    return table(head, rows)
