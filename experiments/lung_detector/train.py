"""Trains a detector and packs it for the predictor and the service.

python -m experiments.lung_detector.train experiment=lung_detector arch=detector/lung-slices
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.build import build
from experiments.cli import run_as_command
from experiments.context import Setting, resolved, versions, write_config
from experiments.lung_detector.predictor import Preprocessing, save
from experiments.networks import resolve_all
from experiments.progress import TrainingProgress, scored
from experiments.train.job import require_untouched_test
from nas.data.store import VolumeStore
from nas.data.transforms.ct_slices import check_windows
from nas.errors import NASError
from nas.retraining.folds import retrain
from nas.training.loop import BEST
from nas.training.settings import TrainingSettings
from nas.utils.files import write_text

RESULT = "detector.json"


def train_detector(cfg: DictConfig, folder: Path) -> dict[str, Any]:
    """Trains `arch` on the training part of the split's first round, keeps the epoch that is best on its validation
    part, tests it once, and writes into `folder`: arch.json and detector.pt (what `Predictor.load` takes),
    detector.json, config.yaml, checkpoints/. The same command again goes on where it was, and takes over what
    run_train.py has trained under the same name. Returns the content of detector.json.

    Raises NASError for data that are no CT slices with boxes, and whatever `retrain` refuses.
    """
    setting = Setting.of(cfg)
    plain = resolved(cfg)
    preprocessing = preprocessing_of(setting.store)
    (network,) = resolve_all([plain["arch"]], setting.task.spec, cfg.allow_packages, plain["space_changes"])
    require_untouched_test(network, setting, "holdout")
    write_config(folder / "config.yaml", plain)
    line = TrainingProgress("training", keep=True)
    score = setting.task.score

    def on_epoch(part: str, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        line.update(epoch, epochs, scored(score, metrics))

    started, used = time.perf_counter(), time.process_time()
    part = setting.split.holdout_rounds()[0]
    checkpoints = folder / "checkpoints" / network.arch.id  # where run_train.py of the same name has its own
    (tested,) = retrain(
        network,
        setting,
        [part],
        build(cfg.training, "training", TrainingSettings, cfg.allow_packages),
        cfg.seed,
        checkpoints,
        None,
        on_epoch,
    )
    line.close()
    store = setting.store
    model = network.build(setting.task.spec)
    best = torch.load(checkpoints / part.name / BEST, map_location="cpu", weights_only=True)
    model.load_state_dict(best["model"])
    save(folder, network, model, store.classes, preprocessing)
    result = {
        "arch_id": network.arch.id,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "test": dict(setting.task.metrics(tested.prob, store.targets(part.test))),
        "samples": {"train": len(part.train), "valid": len(part.valid), "test": len(part.test)},
        "best_epoch": best["epoch"],
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - used,
        "data": setting.data_facts,
        "split": setting.split_facts,
        "seed": cfg.seed,
        "versions": versions(),
    }
    write_text(folder / RESULT, json.dumps(result, indent=1) + "\n")
    return result


def preprocessing_of(store: VolumeStore) -> Preprocessing:
    """How the slices of a store were made. Raises NASError for a store of anything else."""
    made = store.provenance.get("arguments", {})
    if "windows" not in made or store.dims != 2 or store.shape[-1] != store.shape[-2]:
        raise NASError(
            f"{store.name}, which holds no CT slices with windows",
            "slices that a predictor can make of any CT",
            "data=nodule_phantoms, or data=lung_pet_ct_dx",
        )
    return Preprocessing(check_windows(made["windows"]), int(store.shape[-1]))


@hydra.main(version_base="1.3", config_path="pkg://conf", config_name="train")
def train(cfg: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    result = train_detector(cfg, folder)
    metrics = ", ".join(f"{name} {value:.3f}" for name, value in result["test"].items())
    print(f"{result['samples']['test']} test images: {metrics}; {result['cpu_s'] / 60:.1f} minutes of CPU")
    print(f"wrote {folder}")


def main() -> None:
    run_as_command(train)


if __name__ == "__main__":
    main()
