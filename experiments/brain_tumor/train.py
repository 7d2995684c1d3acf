"""Trains one network on subjects of BraTS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from experiments.brain_tumor.system import Preparation, System
from experiments.build import build
from experiments.context import Setting, pick_device, resolved, versions, write_config
from experiments.networks import resolve_all
from experiments.progress import TrainingProgress, scored
from experiments.train.job import require_untouched_test
from nas.artifact import Artifact
from nas.cost.model import static_costs
from nas.data.io.brats_folder import LABELS
from nas.data.loading import VolumeSet
from nas.data.source import Source
from nas.data.sources.brats import Brats
from nas.data.splits import Split
from nas.data.store import VolumeStore
from nas.errors import NASError, TrialFailed
from nas.tasks.segmentation import Segmentation
from nas.training.loop import FitResult, fit
from nas.training.settings import TrainingSettings

SEEN_BY_PREDICT = ("window", "overlap", "flips")


def train(cfg: DictConfig, folder: Path) -> System:
    """Writes into `folder`: arch.json, weights.pt, system.json, config.yaml, checkpoints/. The same command again goes
    on where it was. Raises NASError for a user's mistake, and where the training fails."""
    plain = resolved(cfg)
    if not isinstance(cfg.repeats, int) or cfg.repeats < 1:
        raise NASError(f"repeats={cfg.repeats}", "a whole number of at least 1", "mend repeats")
    source = build(cfg.data, "data", Source, cfg.allow_packages)
    if not isinstance(source, Brats):
        raise NASError(f"data={type(source).__name__}", "BraTS subjects", "data=brats")
    store = source.prepare()
    task = build(
        cfg.task,
        "task",
        Segmentation,
        cfg.allow_packages,
        in_channels=store.shape[0],
        outputs=len(store.classes),
        dims=store.dims,
    )
    network, *others = resolve_all(plain["arch"], task.spec, cfg.allow_packages)
    if others:
        raise NASError(f"arch={plain['arch']}", "one network", "train each under a name of its own")
    parts = _parts(cfg, store, task, network)
    costs = static_costs(network.space, network.arch, task.spec, store.input_shape)
    write_config(folder / "config.yaml", plain)
    torch.manual_seed(cfg.seed)
    model = network.build(task.spec)
    result = _fit(cfg, plain, store, task, network, model, parts, folder)
    system = System(
        network=Artifact(network.space, network.arch, task.spec, dict(result.metrics), network.provenance),
        model=model,
        preparation=Preparation.of(source),
        inference={name: plain["task"][name] for name in SEEN_BY_PREDICT},
        parts={name: store.names[rows].tolist() for name, rows in parts.items()},
        notes={
            "labels": list(LABELS),
            "classes": list(store.classes),
            "data": store.sha256,
            "seed": cfg.seed,
            "overfit": cfg.overfit,
            "best_epoch": result.best_epoch,
            "epochs": result.epochs_run,
            "seconds": round(result.seconds, 1),
            "validation": dict(result.metrics),
            "costs": costs,
            "versions": versions(),
        },
    )
    system.save(folder)
    _tell(system, result, folder)
    return system


def _parts(cfg: DictConfig, store: VolumeStore, task: Segmentation, network: Artifact) -> dict[str, np.ndarray]:
    """Rows of the store: those that are trained on, those that choose the epoch, and those that are left, which the
    search of a searched network left too."""
    if cfg.overfit:
        every = np.arange(len(store))
        return {"train": every, "valid": every, "test": every[:0]}
    if len(store) < 3:
        raise NASError(
            f"{len(store)} subject(s) in {cfg.data.root}",
            "at least 3: one to train on, one to validate, one to test",
            "overfit=true, which trains and validates on the same subjects",
        )
    split = build(cfg.split, "split", Split, cfg.allow_packages, store=store)
    require_untouched_test(network, Setting(store, split, task, pick_device(cfg.device)), "holdout")
    return {"train": split.search[0], "valid": split.search[1], "test": split.test}


def _fit(
    cfg: DictConfig,
    plain: Mapping[str, Any],
    store: VolumeStore,
    task: Segmentation,
    network: Artifact,
    model: torch.nn.Module,
    parts: Mapping[str, np.ndarray],
    folder: Path,
) -> FitResult:
    device = pick_device(cfg.device)
    # a training wants two samples on either side, which a single subject is when it is seen twice
    train_rows = np.tile(parts["train"], max(cfg.repeats, -(-2 // len(parts["train"]))))
    valid_rows = np.tile(parts["valid"], -(-2 // len(parts["valid"])))
    line = TrainingProgress(network.arch.id, keep=True)
    content = [network.arch.id, plain["task"], plain["seed"]]
    try:
        return fit(
            model,
            task,
            VolumeSet(store, train_rows, device),
            VolumeSet(store, valid_rows, device),
            build(cfg.training, "training", TrainingSettings, cfg.allow_packages),
            seed=cfg.seed,
            device=device,
            folder=folder / "checkpoints",
            fingerprint=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
            on_epoch=lambda epoch, epochs, metrics: line.update(epoch, epochs, scored("dice", metrics)),
        )
    except TrialFailed as failure:
        raise NASError(str(failure), "a training that ends", "lower training.lr or the batch size") from failure
    finally:
        line.close()


def _tell(system: System, result: FitResult, folder: Path) -> None:
    costs, counts = system.notes["costs"], {part: len(names) for part, names in system.parts.items()}
    print(f"{system.network.space.describe(system.network.arch)}")
    print(f"{costs['params'] / 1e6:.3f} M parameters, {costs['macs'] / 1e9:.3f} G MACs a subject")
    print(f"modalities {', '.join(system.preparation.modalities)}; subjects {counts}")
    print(
        f"best epoch {result.best_epoch} of {result.epochs_run}, {result.seconds:.0f} s; Dice of the classes on the "
        f"network's grid: {', '.join(f'{name} {value:.3f}' for name, value in result.metrics.items())}"
    )
    print(f"\nwrote {folder}")
