"""Plans for the machine at hand: a training step of the planned network is timed, and its memory measured."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from experiments.build import build
from experiments.conf_files import text_of
from nas.architecture import Architecture
from nas.artifact import Artifact
from nas.cost.profile import profile, training_bytes
from nas.errors import NASError, TrialFailed
from nas.planning.classification import plan_classification
from nas.planning.fingerprint import Fingerprint
from nas.planning.lengths import with_lengths_of_network
from nas.planning.plan import Plan
from nas.planning.reading import Progress, read_fingerprint, silent
from nas.planning.rules import MEMORY_SHARE, Limits, Network, StepCost
from nas.planning.segmentation import plan_segmentation
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.tasks.base import Task
from nas.training.loop import fast_kernels, oom_as_trial_failed
from nas.training.settings import TrainingSettings
from nas.training.steps import Steps
from nas.utils.memory import machine_memory

STEPS, LONG_S = 3, 10.0  # timed steps after one that warms up, and seconds from which on no further one is taken
UNKNOWN_MEMORY = 8_000_000_000  # bytes of a machine that does not report its memory
PER_WEIGHT = 16  # bytes: weight, gradient and two states of Adam
RULES = {"segmentation": plan_segmentation, "classification": plan_classification}


def make_plan(
    path: str | Path,
    device: torch.device,
    seconds: float,
    task: str | None = None,
    progress: Progress = silent,
    max_params: float = math.inf,
) -> Plan:
    """Read a data set and plan its search and training on a device.

    Args:
        path: A folder with masks (Decathlon, nnU-Net, KiTS), or a csv of labelled volumes.
        device: Device of the trainings.
        seconds: Running time for search and trainings together.
        task: "segmentation" or "classification"; None for that of the data.
        progress: Called after each case that was read, with the numbers of cases done and in all.
        max_params: Most parameters of the reference network, if the narrowest one of the rules has no more.

    Returns:
        The plan.

    Raises:
        NASError: If the data cannot be read, or the task does not fit.
    """
    return plan_of(read_fingerprint(path, task, progress), device, seconds, max_params)


def plan_of(fingerprint: Fingerprint, device: torch.device, seconds: float, max_params: float = math.inf) -> Plan:
    """Plan the search and training of a data set whose facts are known.

    Args:
        fingerprint: Facts of the data.
        device: Device of the trainings.
        seconds: Running time for search and trainings together.
        max_params: See `make_plan`.

    Returns:
        The plan.
    """
    limits = _limits(device, seconds, max_params)
    return RULES[fingerprint.kind](fingerprint, limits, TimedSteps(device, limits.memory))


def timed_again(plan: Plan, device: torch.device, seconds: float) -> Plan:
    """Time the network of a plan that was taken from elsewhere; see `nas.planning.lengths.with_lengths_of_network`.

    Args:
        plan: The plan of a segmentation.
        device: Device of the trainings.
        seconds: Running time for search and trainings together.

    Returns:
        The plan with the lengths that fit its network.

    Raises:
        NASError: If a step does not fit into the memory.
    """
    limits = _limits(device, seconds)
    return with_lengths_of_network(plan, limits, TimedSteps(device, limits.memory))


def _limits(device: torch.device, seconds: float, max_params: float = math.inf) -> Limits:
    return Limits(seconds, int(MEMORY_SHARE * free_memory(device)), str(device), max_params)


def reference_network(plan: Plan) -> Artifact:
    """Return the reference network of a plan, the first to be trained.

    Args:
        plan: The plan.

    Returns:
        The network in the planned space.

    Raises:
        NASError: If a plan that was edited has no such network, or states no channels or classes.
    """
    for name in ("channels", "classes"):
        if not isinstance(plan.fingerprint.get(name), list):
            raise NASError(
                f"a plan without fingerprint: {name}", f"the {name} of the data", "write them into it, or plan again"
            )
    prefix = "space."
    settings = {one.key.removeprefix(prefix): one.value for one in plan.of("search") if one.key.startswith(prefix)}
    space = space_from_conf(str(plan.value("space")), settings)
    channels, classes = len(plan.fingerprint["channels"]), len(plan.fingerprint["classes"])
    return Artifact(space, architecture_of(space, plan.reference), TaskSpec(plan.task, 3, channels, classes))


class TimedSteps:
    """Measures training steps of networks with random images.

    Args:
        device: Device of the trainings.
        memory: Bytes that a step may need.
    """

    def __init__(self, device: torch.device, memory: int) -> None:
        self.device, self.memory = device, memory
        self._known: dict[tuple[str, bool], StepCost] = {}

    def __call__(self, network: Network, *, timed: bool = True) -> StepCost:
        """Measure a network, each once; see `nas.planning.rules.Measure`.

        Args:
            network: The network.
            timed: Whether a step is run.

        Returns:
            Its cost.
        """
        key = (repr(network), timed)
        if key not in self._known:
            self._known[key] = self._measured(network, timed)
        return self._known[key]

    def _measured(self, network: Network, timed: bool) -> StepCost:
        space = space_from_conf(network.space, network.settings)
        arch = architecture_of(space, network.genes)
        spec = TaskSpec(network.kind, len(network.shape), network.channels, network.outputs)
        with torch.device("meta"):
            ghost = space.build(arch, spec)
        one = profile(ghost, (1, network.channels, *network.shape))
        saved = training_bytes(ghost, (network.batch, network.channels, *network.shape)) + PER_WEIGHT * one.params
        if not timed or saved > self.memory:
            return StepCost(math.inf if timed else math.nan, saved, one.params, one.macs)
        try:
            seconds, peak = self._run(space.build(arch, spec), network, spec)
        except TrialFailed:  # out of memory
            return StepCost(math.inf, max(saved, self.memory + 1), one.params, one.macs)
        # a step that reuses memory which the process has freed before adds less to it than it needs
        return StepCost(seconds, max(peak, saved), one.params, one.macs)

    def _run(self, model: torch.nn.Module, network: Network, spec: TaskSpec) -> tuple[float, int]:
        task = _task(spec)
        settings = TrainingSettings(epochs=STEPS + 1, batch_size=network.batch)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), oom_as_trial_failed(), fast_kernels(self.device):
            data: Any = _RandomImages(network, self.device)
            steps = Steps(model, task, settings, data, seed=0, device=self.device)
            peak, times = _Peak(self.device), list[float]()
            for number in range(STEPS + 1):
                started = time.perf_counter()
                float(next(steps.epoch(number + 1))[0])
                times.append(time.perf_counter() - started)
                if number and sum(times) > LONG_S:
                    break
            return min(times[1:]), peak.bytes()  # other programs make steps slower, never faster


class _RandomImages:
    """One batch of random images an epoch, in the place of a `VolumeSet`."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self.per_epoch = network.batch
        self._x_BCDHW = torch.randn(network.batch, network.channels, *network.shape, device=device)
        shape = network.shape if network.kind == "segmentation" else ()
        self._y = torch.randint(network.outputs, (network.batch, *shape), device=device)

    def batches(self, batch_size: int, **settings: object) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield self._x_BCDHW, self._y


class _Peak:
    """Memory that a process took at its peak since now; 0 where it cannot be measured."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._before = device, 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):  # Linux only
                Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
                self._before = _status("VmRSS")

    def bytes(self) -> int:
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return max(_status("VmHWM") - self._before, 0) if self._before else 0


def _status(name: str) -> int:
    with suppress(OSError, StopIteration):  # Linux only
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
    return 0


def free_memory(device: torch.device) -> int:
    """Return the memory of a device that no process uses.

    Args:
        device: The device.

    Returns:
        Bytes.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    total, free = machine_memory()
    return int(free or (total or UNKNOWN_MEMORY) / 2)


def space_from_conf(name: str, settings: Any) -> SearchSpace:
    """Build a space of conf/space with some of its arguments replaced.

    Args:
        name: Name of its file.
        settings: Argument -> value.

    Returns:
        The space.
    """
    own = OmegaConf.to_container(OmegaConf.create(text_of(f"space/{name}.yaml")))
    assert isinstance(own, dict)
    return build({**own, **settings}, "space", SearchSpace)


def architecture_of(space: SearchSpace, genes: Any) -> Architecture:
    """Find a network by the values of its genes.

    Args:
        space: The space.
        genes: Name of a gene -> value.

    Returns:
        The architecture.

    Raises:
        NASError: If a gene is missing, or the space does not have the value.
    """
    indices = []
    for gene in space.genes:
        value = genes.get(gene.name)
        if value not in gene.choices:
            shown = f"{gene.name}={value} of the reference network"
            raise NASError(shown, f"one of {', '.join(map(str, gene.choices))}", "correct reference in the plan")
        indices.append(gene.choices.index(value))
    return space.architecture(indices)


def _task(spec: TaskSpec) -> Task:
    from nas.tasks.classification import Classification  # here, as they take long to import
    from nas.tasks.segmentation import Segmentation

    cls: Any = Segmentation if spec.kind == "segmentation" else Classification
    return cls(in_channels=spec.in_channels, outputs=spec.outputs, dims=spec.dims)
