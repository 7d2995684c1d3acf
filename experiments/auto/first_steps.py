"""Reference network and search of `voxnas auto`.

Each step is skipped if an earlier run has done it, and continues where that one stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from experiments.auto.composed import composed
from experiments.auto.deadlines import Both, StopAt, Stopwatch, interrupted_after
from experiments.auto.machine import threads
from experiments.auto.networks import prior_of, trials_ended
from experiments.auto.plan_step import LATENCIES, PLAN, REFERENCE, SEARCH, PlanStep
from experiments.auto.say import clock_time, printing_into
from experiments.auto.schedule import (
    MOST_NETWORKS,
    SLACK,
    SearchPart,
    first_reserve,
    reference_epochs,
    search_part,
)
from experiments.config import SearchConfig
from experiments.search.job import search_command
from experiments.train.helpers import processes_of
from experiments.train.job import run_train_experiment
from nas.errors import NASError
from nas.found import CHOSEN
from nas.planning.plan import in_grammar
from nas.utils.duration import in_words

PRIORBAND, OVER_S = "priorband", 1e-3
FULL_BUDGETS = 27  # epochs from which on it has two rungs: 9, past the epoch at which classes emerge, and 27


class FirstSteps(PlanStep):
    """The steps until the search has ended; see `PlanStep`."""

    def reference(self) -> None:
        """Train and test the reference network on the first fold, so that there is an answer."""
        facts = self.clock.facts(REFERENCE)
        if self.clock.is_done(REFERENCE):
            return
        self.clock.begin(REFERENCE)
        if "epochs" not in facts:
            self.says.line("prepares the data and times the reference network")
            with printing_into(self.out):
                cost, wanted = self.cost(1), self.wanted
            epochs = reference_epochs(self.clock.limit, self.clock.left, cost.epoch.seconds, wanted)
            facts = {"epochs": epochs, "epoch_s": cost.epoch.seconds, "case_s": cost.case.seconds}
            self.clock.note(REFERENCE, **facts, wanted=wanted)
        epochs, seconds = facts["epochs"], facts["epochs"] * facts["epoch_s"]
        self.says.step(
            2,
            f"reference network: {epochs} epochs on one fold, about {in_words(seconds)}, "
            f"until about {clock_time(seconds)}",
        )
        started, own = time.monotonic(), Stopwatch()
        room = self.clock.left - first_reserve(self.clock.limit)
        stop = Both(StopAt(time.time() + max(room, 0.0)), own)
        config = self.training([self.reference_file], REFERENCE, epochs, 1)
        with printing_into(self.out), threads(self.threads(1)):
            result = run_train_experiment(config, self.out / REFERENCE, stop)
        assert result is not None
        trained = own.seconds
        self.clock.done(
            REFERENCE,
            overhead_s=round(time.monotonic() - started - trained, 1),
            score=result.headline_scores.get(self.setting.task.score_name),
        )

    @property
    def reserve(self) -> float:
        """Seconds that are kept for choice, test and report, from those of the reference network."""
        facts = self.clock.facts(REFERENCE)
        predicted = MOST_NETWORKS * len(self.rounds[0].valid) * facts.get("case_s", 0.0)
        return SLACK * (2 * facts.get("overhead_s", 0.0) + predicted) + first_reserve(self.clock.limit) / 2

    def search(self) -> None:
        """Search within half of the time, with the reference network as the first trial."""
        folder, facts = self.out / SEARCH, self.clock.facts(SEARCH)
        if self.clock.is_done(SEARCH):
            return
        self.clock.begin(SEARCH)
        if "seconds" not in facts:
            part = self._divided()
            facts = {**asdict(part), "workers": self.workers}
            facts["until_s"] = self.clock.used + part.seconds
            self.clock.note(SEARCH, **facts)
        part = SearchPart(facts["seconds"], facts["trials"], facts["epochs"], facts["trial_s"])
        workers = facts["workers"]
        left = facts["until_s"] - self.clock.used
        if not part.trials:
            self.says.step(3, "search: none, as the time is too short for it")
        else:
            self.says.step(
                3,
                f"search: up to {part.trials} networks, {part.epochs} epochs each, {workers} at a time, "
                f"until {clock_time(left)}",
            )
            config = self.search_config(part, workers)
            self.clock.note(SEARCH, most_trials=config.study.trials)
            self._searched(folder, config, workers, left)
            if trials_ended(folder) and not (folder / CHOSEN).is_file():  # stopped before it wrote its results
                with printing_into(self.out):
                    over = replace(config, study=replace(config.study, time=OVER_S))
                    search_command(over, folder, quiet=True, silent=True)
        self.clock.done(SEARCH, ended_trials=trials_ended(folder))

    @property
    def epoch_s(self) -> float:
        """Time of an epoch of the reference network while all workers train, measured once."""
        if (known := self.clock.facts(SEARCH).get("epoch_s")) is None:
            with printing_into(self.out):
                one = self.clock.facts(REFERENCE)["epoch_s"]
                known = self.cost(self.workers).epoch.seconds if self.workers > 1 else one
            self.clock.note(SEARCH, epoch_s=known)
        return float(known)

    def _divided(self) -> SearchPart:
        facts = self.clock.facts(REFERENCE)
        epochs = int(self.planned.value("training.epochs", "search", facts["wanted"]))
        limit, left = self.clock.limit, self.clock.left
        part = search_part(limit, left, self.reserve, facts["wanted"], self.epoch_s, epochs, self.workers)
        return replace(part, trials=min(part.trials, int(self.planned.value("study.trials", "search", part.trials))))

    def search_config(self, part: SearchPart, workers: int) -> SearchConfig:
        """Compose the search.

        Args:
            part: Its trials and their length.
            workers: Number of workers.

        Returns:
            The configuration.
        """
        strategy = self.request.strategy or (PRIORBAND if part.epochs >= FULL_BUDGETS else "local_search")
        limits = [*(self.planned.value("constraints", "search") or []), *self.request.constraints]
        trials = part.trials * (2 if strategy == PRIORBAND else 1)  # many of its trials are short
        own = [f"strategy={strategy}", "study.name=search", f"study.trials={trials}"]
        own += [f"study.time={part.time_of_trials(workers):.0f}s", f"constraints={in_grammar(limits)}"]
        own += [f"training.epochs={part.epochs}", f"training.validate_every={max(part.epochs // 4, 1)}"]
        own += ["objectives.macs=null", prior_of(self.network)]
        if self.request.joint:
            own.append(f"recipe={self.planned.task}")
        if self.request.max_latency_ms is not None:  # measured with all threads, as a network is used
            own += [f"cost.table={in_grammar(str(self.out / LATENCIES))}", "cost.other_device=true"]
        return SearchConfig.of(composed("search", self.out / PLAN, self.settings(*own)))

    def _searched(self, folder: Path, config: SearchConfig, workers: int, seconds: float) -> None:
        with printing_into(self.out), threads(self.threads(workers)), interrupted_after(seconds) as ended:
            try:
                with processes_of(config.plain(), workers, folder, search_worker) as others:
                    search_command(config, folder, quiet=True)
                    for process in others:  # in their last trials
                        process.join()
            except NASError:
                if not ended.is_set():  # no trial ended in its time
                    raise


def search_worker(settings: Mapping[str, Any], folder: Path, number: int) -> None:
    """Run a further worker of the search.

    Args:
        settings: Settings of the search, as plain values.
        folder: Its output folder.
        number: Number of the worker.
    """
    search_command(SearchConfig.of({**settings, "worker": number}), folder, quiet=True, silent=True)
