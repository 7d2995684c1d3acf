"""The dry run of a training: everything is checked, each network is timed, nothing is written but the data cache."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from experiments.estimates import JobEstimate
from experiments.search.random_counterpart import counterpart_estimate
from experiments.train.job import CheckedTraining, checked_training
from experiments.train.systems import SystemTrainer
from nas.artifact import Artifact
from nas.budget import Estimate
from nas.data.loading import VolumeSet
from nas.training.recipe import prepared
from nas.training.timing import training_cost
from nas.utils.folders import require_writable

KEPT = 1e6  # bytes of the table, the report and the predictions as csv


def preview_training(cfg: DictConfig, folder: Path) -> JobEstimate:
    """Check a training and estimate what is left of it: networks, rounds, and the search that is repeated at random.

    Args:
        cfg: The configuration, as composed from conf/train.yaml.
        folder: The output folder, which is not made.

    Returns:
        The plan. Its networks are counted once for each round, and with them the trials of the repeated search.

    Raises:
        NASError: If a setting is wrong, or the folder cannot be written or holds another training.
        TrialFailed: If a network cannot be trained here.
    """
    job = checked_training(cfg)
    require_writable(folder)
    trainer = SystemTrainer(job.config, job.setting, job.rounds, folder, recipe=job.recipe)
    trainer.check(job.networks)
    networks, estimate = 0, Estimate(bytes=KEPT)
    left, known = 0, True
    published = trainer.published(job.networks)
    beside = [unet for unet, _ in trainer.plain_unets(job.networks)]
    for network in [*job.networks, *beside, *([published] if published is not None else [])]:
        networks += len(job.rounds)
        if not trainer.is_finished([network]):
            left += len(job.rounds)
            estimate += _of_rounds(network, job, trainer)
    if (searched := trainer.to_repeat(job.networks)) is not None:
        network, record = searched
        trials = record.trials if record.trains else 0
        networks += len(job.rounds) + trials
        more = counterpart_estimate(network, record, folder / "random_search", job.setting, job.config.allow_packages)
        if more != Estimate() or left:
            left += len(job.rounds) + (trials if more != Estimate() else 0)
            estimate += _of_rounds(network, job, trainer) + (more or Estimate())
            known = more is not None
    return JobEstimate(folder, networks, left, estimate if known else None, str(job.setting.device))


def _of_rounds(network: Artifact, job: CheckedTraining, trainer: SystemTrainer) -> Estimate:
    """Training, checkpoints, bundle and test of a network on every round, as long as on the first."""
    setting, part = job.setting, job.rounds[0]
    train, valid = (VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid))
    own = prepared(trainer.recipe_of(network), trainer.training, setting.task, train, valid)
    model = network.build(setting.task.spec)
    cost = training_cost(model, own.task, own.train, own.valid, own.settings, setting.device)
    one = cost.epoch.times(own.settings.epochs) + cost.case.times(len(part.test)) + cost.checkpoints + cost.weights
    return one.times(len(job.rounds))
