"""The networks of a run: the planned reference, and the best of a search that ended or was interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from nas.artifact import Artifact, load
from nas.errors import NASError
from nas.found import CHOSEN
from nas.history import History, Trial
from nas.multiobjective.constraints import violation
from nas.planning.plan import in_grammar
from nas.study.probe import study_of_store

STUDY = "study.db"


@dataclass(frozen=True)
class Found:
    """A network of a search.

    Args:
        network: The network with its origin.
        score: Its validation score in the search.
        epoch_s: Time of one of its epochs in the search.
    """

    network: Artifact
    score: float
    epoch_s: float


def best_of_search(folder: Path, count: int) -> list[Found]:
    """Read the best networks of a search that keep its constraints.

    Args:
        folder: Its output folder.
        count: Their number at most.

    Returns:
        The networks, best first; none if no trial ended.
    """
    if not (folder / STUDY).is_file() or not (folder / CHOSEN).is_file():
        return []
    study = study_of_store(str(folder))
    try:
        history = study.history()
    finally:
        study.close()
    chosen = load(folder / CHOSEN)
    order = sorted(_feasible(history), key=lambda trial: -history.sign[history.score] * trial.metrics[history.score])
    return [
        Found(_artifact(chosen, trial), trial.metrics[history.score], _epoch_s(history, trial))
        for trial in order[:count]
    ]


def trials_ended(folder: Path) -> int:
    """Count the finished trials of a search.

    Args:
        folder: Its output folder.

    Returns:
        Their number; 0 without a study.
    """
    if not (folder / STUDY).is_file():
        return 0
    try:
        study = study_of_store(str(folder))
    except NASError:  # interrupted before the study was made
        return 0
    try:
        return len(study.history().complete())
    finally:
        study.close()


def write_network(network: Artifact, path: Path) -> Path:
    """Write a network, unless the file holds it already.

    Args:
        network: The network.
        path: The file.

    Returns:
        The file.
    """
    if not path.is_file():
        network.save(path)
    return path


def prior_of(network: Artifact) -> str:
    """Return the belief that a network is the best, as a setting of a search, which tries it first.

    Args:
        network: A network of the space that is searched.

    Returns:
        The setting `space.prior`.
    """
    return f"+space.prior={in_grammar(genes_of(network))}"


def genes_of(network: Artifact) -> Mapping[str, Any]:
    """Return the genes of a network by name.

    Args:
        network: The network.

    Returns:
        Name -> value.
    """
    pairs = zip(network.space.genes, network.arch.genes, strict=True)
    return {gene.name: gene.choices[index] for gene, index in pairs}


def _feasible(history: History) -> list[Trial]:
    final = history.final()
    kept = [trial for trial in final if violation(history.constraints, trial.metrics) <= 0]
    return kept or list(final)


def _epoch_s(history: History, trial: Trial) -> float:
    own = [one for one in history.complete() if one.arch == trial.arch]
    return median(one.metrics["seconds"] / max(one.metrics["epochs"], 1) for one in own)


def _artifact(chosen: Artifact, trial: Trial) -> Artifact:
    search = chosen.provenance.search
    assert search is not None
    record = replace(search, trial=trial.number, budget=trial.budget, evaluations=1, standard_error={})
    arch = chosen.space.architecture(trial.arch.genes)
    return Artifact(chosen.space, arch, chosen.task, dict(trial.metrics), replace(chosen.provenance, search=record))
