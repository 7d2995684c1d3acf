"""The first steps of `voxnas auto`: plan, reference network, search.

Each step is skipped if an earlier run has done it, and continues where that one stopped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.auto.clock import Clock
from experiments.auto.composed import composed
from experiments.auto.deadlines import Both, StopAt, Stopwatch, interrupted_after
from experiments.auto.limits import limits_of, small_enough
from experiments.auto.machine import cores, threads, workers_of
from experiments.auto.networks import prior_of, trials_ended, write_network
from experiments.auto.plan_checks import require_plan_of, require_unchanged, settings_of
from experiments.auto.request import Request
from experiments.auto.say import Says, clock_time, printing_into
from experiments.auto.schedule import (
    MOST_NETWORKS,
    SLACK,
    SearchPart,
    first_reserve,
    reference_epochs,
    search_part,
)
from experiments.build import build
from experiments.config import SearchConfig
from experiments.context import task_setup
from experiments.devices import pick_device
from experiments.planning import make_plan, reference_network
from experiments.search.job import search_command
from experiments.train.config import TrainConfig
from experiments.train.helpers import processes_of
from experiments.train.job import run_train_experiment
from nas.artifact import Artifact, load
from nas.context import TaskSetup
from nas.cost.latency import LatencyTable, measure_table
from nas.cost.model import CostModel
from nas.data.io.images import triple
from nas.data.loading import VolumeSet
from nas.data.splits import Fold
from nas.errors import NASError
from nas.found import CHOSEN
from nas.planning.plan import Plan, in_grammar
from nas.planning.reading import Progress
from nas.planning.rules import REFERENCE_SHARE
from nas.provenance import Provenance
from nas.training.settings import TrainingSettings
from nas.training.timing import TrainingCost, training_cost
from nas.utils.duration import in_words

PLAN, REFERENCE, SEARCH, MODEL, LATENCIES = "plan.yaml", "reference", "search", "model", "latency.json"
NAME = "planned reference network"
VALIDATIONS, RESAMPLES = 10, 1000
ENOUGH_BLOCKS, CHECKED = 5, 8  # of a table of latencies: blocks before its time is known, whole networks
PRIORBAND, OVER_S = "priorband", 1e-3
FULL_BUDGETS = 27  # epochs from which on it has two rungs: 9, past the epoch at which classes emerge, and 27
NO_BASELINES = [f"baselines.{name}=false" for name in ("volume", "features", "intensity", "random_search")]
NO_BASELINES += [f"baselines.{name}=null" for name in ("plain_unet", "published")]


class FirstSteps:
    """The steps until the search has ended.

    Args:
        request: The options.
        clock: The running time.
        says: Prints progress.
    """

    def __init__(self, request: Request, clock: Clock, says: Says) -> None:
        self.request, self.clock, self.says, self.out = request, clock, says, request.out
        self.cores = cores()
        self.loaded_s = clock.this_run  # what a process needs until it can begin

    def plan(self, progress: Progress) -> Plan:
        """Read the data and plan, unless there is a plan.

        Args:
            progress: Called after each case with the numbers of cases done and in all.

        Returns:
            The plan, with the changes of the user.

        Raises:
            NASError: If the data cannot be read, or the plan is of other data, or plan or data were changed after the
                reference network was trained, or no network keeps the limits.
        """
        path = self.out / PLAN
        is_new = not path.is_file()
        try:
            return self._plan(path, progress)
        except NASError:
            if is_new:  # a refused command leaves nothing, so that it can be corrected
                path.unlink(missing_ok=True)
            raise

    def _plan(self, path: Path, progress: Progress) -> Plan:
        if not path.is_file():
            self.says.step(1, f"plan: reads {self.request.data} and times training steps")
            self.clock.begin(PLAN)
            device, data = pick_device(self.request.device), self.request.data
            plan = make_plan(data, device, self.request.seconds, self.request.task, progress, self.request.most_params)
            plan.write(path)
        else:
            self.says.step(1, f"plan: that of {path}")
            self.clock.begin(PLAN)
        found = Plan.read(path)
        require_plan_of(self.request, found, path)
        before = self.clock.facts(PLAN).get("settings")
        if before is not None and self._file.is_file():  # that of the reference network, which is written next
            require_unchanged(found, before, path)
        strategy = [] if self.request.strategy is None else [f"strategy={self.request.strategy}"]
        search = composed("search", path, self.settings("study.name=search", *strategy))
        self.planned = found
        with printing_into(self.out):
            setting = task_setup(SearchConfig.of(search))  # wrong settings are refused before anything is trained
        contents = [setting.data_facts.sha256, setting.split_facts.sha256]
        trained = self._file.is_file()
        if trained and self.clock.facts(PLAN).get("contents", contents) != contents:
            raise NASError(
                f"{self.request.data}, which has changed since {self.out} was begun",
                "the data of the run that is continued",
                "use another --out",
            )
        _ = self.network  # limits that none keeps are refused, too
        if not trained:
            self.clock.note(PLAN, settings=settings_of(found), contents=contents)
        if not self.clock.is_done(PLAN):
            self.clock.done(PLAN)
        return found

    def settings(self, *more: str) -> list[str]:
        """Return settings that searches and trainings of this run share.

        Args:
            *more: Further settings.

        Returns:
            Settings in Hydra's grammar.
        """
        folds = [] if self.request.folds is None else [f"split.folds={self.request.folds}"]
        return [f"seed={self.request.seed}", f"device={self.request.device}", *folds, *more]

    def training(
        self, networks: Sequence[Path], name: str, epochs: int | None, rounds: int, *more: str
    ) -> dict[str, Any]:
        """Compose a training of networks.

        Args:
            networks: Their files.
            name: Name of the training.
            epochs: Its epochs; None for those of the plan, or of conf/training.
            rounds: Number of folds.
            *more: Further settings.

        Returns:
            The configuration.
        """
        own = [f"arch={in_grammar([str(path) for path in networks])}", f"name={name}", f"rounds={rounds}"]
        if epochs is not None:
            own += [f"training.epochs={epochs}", f"training.validate_every={max(epochs // VALIDATIONS, 1)}"]
        own += [f"resamples={RESAMPLES}", *NO_BASELINES]
        return composed("train", self.out / PLAN, self.settings(*own, *more))

    @cached_property
    def network(self) -> Artifact:
        """The planned reference network, or a smaller one that keeps the limits."""
        if self._file.is_file():  # of an earlier run
            return load(self._file)
        network = replace(reference_network(self.planned), provenance=Provenance(published=NAME))
        ms = None
        if self.request.max_latency_ms is not None:
            table = self._latencies(network)
            ms = CostModel(network.space, network.task, self._input_shape(network), "latency_ms", table)
        return small_enough(network, limits_of(network, self.request.max_params, self.request.max_latency_ms, ms))

    @property
    def _file(self) -> Path:
        return self.out / f"{REFERENCE}.json"

    def _input_shape(self, network: Artifact) -> tuple[int, ...]:
        sides = self.planned.value("data.patch") or self.planned.value("data.size")
        if sides is None:
            raise NASError(
                f"--max-latency-ms with {self.out / PLAN}, which states no data.patch or data.size",
                "the sides of an image, for which latencies are measured",
                "write data.patch into the plan, or limit --max-params",
            )
        return (network.task.in_channels, *map(int, triple(sides)))

    def _latencies(self, network: Artifact) -> LatencyTable:
        """Measure the latencies of the space's blocks, unless an earlier run did."""
        path = self.out / LATENCIES
        if not path.is_file():
            self.says.line("measures the latency of the blocks of the space")
            device = pick_device(self.request.device)
            shape, begun = self._input_shape(network), time.monotonic()

            def require_time(done: int, total: int) -> None:
                seconds = (time.monotonic() - begun) / done * total
                if done >= ENOUGH_BLOCKS and seconds > REFERENCE_SHARE * self.clock.limit:
                    raise NASError(
                        f"--max-latency-ms with --time {self.clock.limit:g}, of which latencies take {seconds:.0f} s",
                        "a table of latencies in an eighth of the time",
                        "give more --time, or limit --max-params",
                    )

            with threads(self.threads(1)):
                table = measure_table(network.space, shape, network.task, device, checks=CHECKED, progress=require_time)
            table.save(path)
        return LatencyTable.load(path)

    @cached_property
    def reference_file(self) -> Path:
        """File of the reference network."""
        return write_network(self.network, self._file)

    @cached_property
    def setting(self) -> TaskSetup:
        """Data, split, task and device of all trainings."""
        return task_setup(TrainConfig.of(self._planned_training))

    @cached_property
    def _planned_training(self) -> dict[str, Any]:
        """The training of the reference network, with epochs of the plan or, where it states none, of conf/training."""
        return self.training([self.reference_file], REFERENCE, None, 1)

    @property
    def wanted(self) -> int:
        """Epochs of one training after the search."""
        return int(self._planned_training["training"]["epochs"])

    @cached_property
    def rounds(self) -> list[Fold]:
        """The folds of a training; the test fold is none of them."""
        return self.setting.split.holdout_rounds()

    @cached_property
    def workers(self) -> int:
        """Trainings at a time."""
        batch = int(self._planned_training["training"]["batch_size"])
        shape = (self.setting.store.shape[0], *self._sides)
        return workers_of(self.network, shape, batch, self.setting.device)

    @property
    def _sides(self) -> Sequence[int]:
        patch = self.planned.value("data.patch") or self.setting.store.shape[1:]
        return [int(side) for side in triple(patch)]

    def cost(self, workers: int) -> TrainingCost:
        """Time the reference network as one of several trainings at a time.

        Args:
            workers: Their number.

        Returns:
            Its cost.
        """
        setting, part = self.setting, self.rounds[0]
        config = TrainConfig.of(self.training([self.reference_file], REFERENCE, self.wanted, 1))
        train, valid = (VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid))
        with threads(self.threads(workers)):
            model = self.network.build(setting.task.spec).to(setting.device)
            settings = build(config.training, "training", TrainingSettings)
            return training_cost(model, setting.task, train, valid, settings, setting.device)

    def threads(self, workers: int) -> int:
        """Return the threads of each of several processes.

        Args:
            workers: Their number.

        Returns:
            At least 1.
        """
        return max(self.cores // workers, 1)

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
