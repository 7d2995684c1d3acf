"""The first step of `voxnas auto`: the plan, and the reference network and trainings that it decides."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.auto.clock import Clock
from experiments.auto.composed import composed
from experiments.auto.limits import limits_of, small_enough
from experiments.auto.machine import cores, threads, workers_of
from experiments.auto.networks import write_network
from experiments.auto.plan_checks import require_plan_of, require_unchanged, settings_of
from experiments.auto.request import Request
from experiments.auto.say import Says, printing_into
from experiments.build import build
from experiments.config import SearchConfig
from experiments.context import task_setup
from experiments.devices import pick_device
from experiments.planning import make_plan, reference_network
from experiments.train.config import TrainConfig
from nas.artifact import Artifact, load
from nas.context import TaskSetup
from nas.cost.latency import LatencyTable, measure_table
from nas.cost.model import CostModel
from nas.data.io.images import triple
from nas.data.loading import VolumeSet
from nas.data.splits import Fold
from nas.errors import NASError
from nas.planning.plan import Plan, in_grammar
from nas.planning.reading import Progress
from nas.planning.rules import REFERENCE_SHARE
from nas.provenance import Provenance
from nas.training.settings import TrainingSettings
from nas.training.timing import TrainingCost, training_cost

PLAN, REFERENCE, SEARCH, MODEL, LATENCIES = "plan.yaml", "reference", "search", "model", "latency.json"
NAME = "planned reference network"
VALIDATIONS, RESAMPLES = 10, 1000
ENOUGH_BLOCKS, CHECKED = 5, 8  # of a table of latencies: blocks before its time is known, whole networks
NO_BASELINES = [f"baselines.{name}=false" for name in ("volume", "features", "intensity", "random_search")]
NO_BASELINES += [f"baselines.{name}=null" for name in ("plain_unet", "published")]


class PlanStep:
    """The plan, and what follows from it: the reference network, the trainings, their folds and costs.

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
