"""Retraining one network on every round of a split, and predicting the round's test part once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from nas.training.loop import fit, predict

from experiments.setup import Setting
from nas.artifact import Artifact
from nas.data.loading import VolumeSet
from nas.data.splits import Round
from nas.files import write_bytes
from nas.training.distributed import is_main
from nas.training.settings import TrainingSettings


@dataclass(frozen=True)
class Tested:
    """What one trained network said of one test part. indices: rows of the store; prob_NK: class probabilities."""

    round: str
    indices: np.ndarray
    prob_NK: np.ndarray


def retrain(
    network: Artifact,
    setting: Setting,
    rounds: Sequence[Round],
    training: TrainingSettings,
    seed: int,
    folder: Path,
    on_epoch: Callable[[str, int, int], None] = lambda name, epoch, epochs: None,
) -> list[Tested]:
    """Trains on each round's train part, keeps the epoch that is best on its validation part, predicts its test part.

    folder: holds a sub-folder per round with checkpoints and the prediction; rounds that are finished there are read,
    the one that was interrupted goes on at its last epoch. Raises NASError where the folder holds another training.
    """
    return [
        _one_round(network, setting, part, training, seed, folder / part.name, partial_epoch(on_epoch, part.name))
        for part in rounds
    ]


def partial_epoch(on_epoch: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda epoch, epochs, *rest: on_epoch(name, epoch, epochs)


def _one_round(
    network: Artifact,
    setting: Setting,
    part: Round,
    training: TrainingSettings,
    seed: int,
    folder: Path,
    on_epoch: Callable[[int, int], None],
) -> Tested:
    fingerprint = _fingerprint(network, setting, part, training, seed)
    done = folder / f"prediction-{fingerprint[:12]}.npy"
    if done.exists():
        return Tested(part.name, part.test, np.load(done, allow_pickle=False))
    torch.manual_seed(_seed_of(seed, network.arch.id, part.name))
    model = network.build(setting.task.spec).to(setting.device)
    train, valid, test = (
        VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid, part.test)
    )
    fit(
        model,
        setting.task,
        train,
        valid,
        training,
        seed=seed,
        device=setting.device,
        folder=folder,
        fingerprint=fingerprint,
        on_epoch=on_epoch,
    )
    prob_NK = predict(model, setting.task, test, training.batch_size)
    if is_main():
        content = io.BytesIO()
        np.save(content, prob_NK, allow_pickle=False)
        write_bytes(done, content.getvalue())
    return Tested(part.name, part.test, prob_NK)


def _fingerprint(network: Artifact, setting: Setting, part: Round, training: TrainingSettings, seed: int) -> str:
    rows = [part.train.tolist(), part.valid.tolist(), part.test.tolist()]
    content = [network.arch.id, setting.store.sha256, setting.split.sha256, rows, repr(asdict(training)), seed]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _seed_of(seed: int, *words: str) -> int:
    digest = hashlib.blake2s(f"{seed}|{'|'.join(words)}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
