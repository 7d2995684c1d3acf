"""The last steps of `voxnas auto`: retraining of the best networks, choice of the answer, test."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.auto.choice import Candidate, candidates
from experiments.auto.deadlines import StopAt
from experiments.auto.first_steps import FirstSteps
from experiments.auto.machine import threads
from experiments.auto.networks import Found, best_of_search, trials_ended, write_network
from experiments.auto.plan_step import MODEL, NAME, REFERENCE, SEARCH
from experiments.auto.say import clock_time, printing_into
from experiments.auto.schedule import MOST_NETWORKS, Retraining, networks_at_a_time, retraining
from experiments.train.config import TrainConfig
from experiments.train.job import checked_training, run_train_experiment, train_networks
from experiments.train.systems import SystemTrainer
from nas.artifact import Artifact, load
from nas.bundle import BUNDLES
from nas.retraining.scoring import Scorer

RETRAINING, CHOICE = "retraining", "choice"
NETWORKS, CHECKPOINTS = "networks", "checkpoints"


@dataclass(frozen=True)
class Answer:
    """Result of a run.

    Args:
        folder: Folder of the answer, for `voxnas predict`.
        networks: Ids of its architectures.
        rounds: Folds on which each was trained.
        why: Why these were chosen.
    """

    folder: Path
    networks: tuple[str, ...]
    rounds: int
    why: str


class Auto(FirstSteps):
    """One run of the command, see `FirstSteps`."""

    def retraining(self) -> None:
        """Train the best networks of the search, or without one the reference network, on as many folds as fit."""
        if self.clock.is_done(RETRAINING):
            return
        self.clock.begin(RETRAINING)
        best = best_of_search(self.out / SEARCH, MOST_NETWORKS) or [Found(self.network, math.nan, self.epoch_s)]
        facts = self.clock.facts(RETRAINING)
        if "rounds" not in facts:
            part = self._retraining(best)
            facts = {"epochs": part.epochs, "rounds": list(part.rounds), "seconds": part.seconds}
            facts |= {"networks": [one.network.arch.id for one in best], "trained": [0] * len(best)}
            self.clock.note(RETRAINING, **facts)
        if not any(facts["rounds"]):
            self.says.step(4, "retraining: none, as the time is too short for it")
        else:
            words = ", ".join(f"{count} fold{'s' * (count > 1)}" for count in facts["rounds"] if count)
            which = "the best networks" if trials_ended(self.out / SEARCH) else "the reference network"
            self.says.step(
                4,
                f"retraining: {which} ({words}), {facts['epochs']} epochs each, until about "
                f"{clock_time(facts['seconds'])}",
            )
        self._train_waves(best, facts)
        self.clock.done(RETRAINING)

    def _retraining(self, best: Sequence[Found]) -> Retraining:
        several = min(self.workers, len(self.rounds) * len(best)) > 1
        test_s = self.clock.facts(REFERENCE).get("overhead_s", 0.0) + (self.loaded_s if several else 0.0)
        return retraining(
            self.clock.left - self.reserve,
            [one.epoch_s for one in best],
            test_s,
            self.clock.facts(REFERENCE)["wanted"],
            len(self.rounds),
            self.workers,
        )

    def _train_waves(self, best: Sequence[Found], facts: Mapping[str, Any]) -> None:
        """Train the first folds of every network, then further ones, as long as there is time."""
        folds, epochs, trained = len(self.rounds), facts["epochs"], list(facts["trained"])
        processes, together = min(self.workers, folds), networks_at_a_time(self.workers, folds)
        for wave in range(processes, folds + processes, processes):
            for first in range(0, len(best), together):
                until = [min(wave, rounds) for rounds in facts["rounds"]]
                left = self.clock.left - self.reserve
                chosen = [
                    number
                    for number, one in list(enumerate(best))[first : first + together]
                    if until[number] > trained[number]
                    and (one.epoch_s * epochs <= left or self._has_begun(one.network, trained[number], until[number]))
                ]
                if not chosen:
                    continue
                trainings = sum(until[number] - trained[number] for number in chosen)
                self._train([best[number].network for number in chosen], until[chosen[0]], epochs, trainings, left)
                for number in chosen:
                    trained[number] = until[number]
                self.clock.note(RETRAINING, trained=trained)

    def _has_begun(self, network: Artifact, first: int, until: int) -> bool:
        place = self.out / MODEL / CHECKPOINTS / network.arch.id
        return any((place / part.name).is_dir() for part in self.rounds[first:until])

    def _train(self, networks: Sequence[Artifact], rounds: int, epochs: int, trainings: int, left: float) -> None:
        for network in networks:
            if network.arch.id == self.network.arch.id and epochs == self.clock.facts(REFERENCE)["epochs"]:
                for part in (BUNDLES, CHECKPOINTS):  # of the same training
                    place = Path(part) / network.arch.id
                    if (self.out / REFERENCE / place).is_dir() and not (self.out / MODEL / place).is_dir():
                        shutil.copytree(self.out / REFERENCE / place, self.out / MODEL / place)
        paths = [write_network(network, self._path(network.arch.id)) for network in networks]
        processes = min(self.workers, trainings)
        config = self.training(paths, MODEL, epochs, rounds, f"processes={processes}")
        with printing_into(self.out), threads(self.threads(processes)):
            train_networks(config, self.out / MODEL, StopAt(time.time() + max(left, 0.0)))

    def choice(self) -> Answer:
        """Choose the networks of the answer by their validation parts.

        Returns:
            The answer.
        """
        facts = self.clock.facts(CHOICE)
        if not self.clock.is_done(CHOICE):
            self.clock.begin(CHOICE)
            self.says.step(5, "choice: compares networks and their ensembles on validation parts")
            with printing_into(self.out), threads(self.threads(1)):
                facts = self._chosen()
            self.clock.done(CHOICE, **facts)
        return Answer(self.out / facts["folder"], tuple(facts["networks"]), facts["rounds"], facts["why"])

    def _chosen(self) -> dict[str, Any]:
        facts = self.clock.facts(RETRAINING)
        trained = {name: count for name, count in zip(facts["networks"], facts["trained"], strict=True) if count}
        own = {"folder": REFERENCE, "networks": [self.network.arch.id], "rounds": 1}
        if not trained:
            return {**own, "why": "The reference network is the only one that was trained in the time.", "scores": {}}
        common = self.rounds[: min(trained.values())]
        packages = (self.network.space.class_path.partition(".")[0],)
        found = candidates(self.out / MODEL, list(trained), common, self.setting, packages)
        best, sign, metric = found[0], self.setting.task.metrics[0].sign, self.setting.task.metrics[0]
        first = candidates(self.out / REFERENCE, [self.network.arch.id], self.rounds[:1], self.setting, packages)[0]
        scores = {" + ".join(one.networks): one.score for one in found}
        scores[NAME] = first.score
        if sign * first.score > sign * best.scores[0]:
            why = (
                f"No retrained network is better than the reference network on the validation part of the first fold "
                f"({metric.label} {first.score:.{metric.digits}f} against {best.scores[0]:.{metric.digits}f})."
            )
            return {**own, "why": why, "scores": scores}
        rounds = min(trained[name] for name in best.networks)
        why = _reason(found, len(common), metric.label, metric.digits)
        return {"folder": MODEL, "networks": list(best.networks), "rounds": rounds, "why": why, "scores": scores}

    def result(self, answer: Answer) -> None:
        """Test the answer and write its result.

        Args:
            answer: The answer.
        """
        if answer.folder.name == REFERENCE or self.clock.is_done(MODEL):
            return
        self.clock.begin(MODEL)
        self.says.step(6, "test: the networks of the answer on the test fold")
        paths = [self._path(name) for name in answer.networks]
        epochs = self.clock.facts(RETRAINING)["epochs"]
        with printing_into(self.out), threads(self.threads(1)):
            run_train_experiment(self.training(paths, MODEL, epochs, answer.rounds), answer.folder)
        self.clock.done(MODEL)

    def file_of(self, answer: Answer, name: str) -> Artifact:
        """Read a network of the answer.

        Args:
            answer: The answer.
            name: Id of the architecture.

        Returns:
            The network.
        """
        return load(self.reference_file if answer.folder.name == REFERENCE else self._path(name))

    def difference(self, answer: Answer) -> dict[str, dict[str, Any]]:
        """Compare the answer with the reference network on the test fold.

        Args:
            answer: An answer that is not the reference network.

        Returns:
            Metric -> difference and its interval, see `nas.retraining.scoring.Scorer.difference`.
        """
        epochs = self.clock.facts(RETRAINING)["epochs"], self.clock.facts(REFERENCE)["epochs"]
        own = self.training([self._path(name) for name in answer.networks], MODEL, epochs[0], answer.rounds)
        reference = self.training([self.reference_file], REFERENCE, epochs[1], 1)
        with printing_into(self.out):
            systems = []
            for plain, folder in ((own, answer.folder), (reference, self.out / REFERENCE)):
                job = checked_training(plain)
                trainer = SystemTrainer(job.config, job.setting, job.rounds, folder, recipe=job.recipe)
                systems.append(trainer.networks(job.networks)[0])
        setting, config = self.setting, TrainConfig.of(own)
        scorer = Scorer(setting.store, setting.task, systems[0].indices, config.resamples, config.seed)
        return scorer.difference(*systems)

    def _path(self, name: str) -> Path:
        return self.out / MODEL / NETWORKS / f"{name}.json"


def _reason(found: Sequence[Candidate], folds: int, label: str, digits: int) -> str:
    best = found[0]
    where = "the validation part of one fold" if folds == 1 else f"the validation parts of {folds} folds"
    if len(found) == 1:
        return f"The only network that was retrained; {label} {best.score:.{digits}f} on {where}."
    other = found[1]
    of = f"{len(best.networks)} networks together" if len(best.networks) > 1 else "one network"
    next_of = f"{len(other.networks)} together" if len(other.networks) > 1 else "another one"
    return f"Best on {where}: {of} with {label} {best.score:.{digits}f}, then {next_of} with {other.score:.{digits}f}."
