"""Retraining one network on every round of a split, and predicting the round's test part once."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.context import Setting
from experiments.networks import searched_space
from nas.artifact import Artifact
from nas.data.loading import VolumeSet
from nas.data.splits import Round
from nas.errors import NASError, TrialFailed
from nas.provenance import TrainingRecord
from nas.supernets.trainer import load_supernet
from nas.training.checkpoint import ARCHITECTURE
from nas.training.distributed import is_main
from nas.training.loop import OnEpoch, fit, predict
from nas.training.settings import TrainingSettings
from nas.utils.files import write_bytes

OnRoundEpoch = Callable[[str, int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Tested:
    """What one trained network said of one test part. indices: rows of the store; prob: what `Task.predict` gives,
    class probabilities (N, K), of a segmentation (N, K, D, H, W), of a detection boxes."""

    round: str
    indices: np.ndarray
    prob: np.ndarray


def retrain(
    network: Artifact,
    setting: Setting,
    rounds: Sequence[Round],
    training: TrainingSettings,
    seed: int,
    folder: Path,
    supernet: Path | None = None,
    on_epoch: OnRoundEpoch = lambda name, epoch, epochs, metrics: None,
) -> list[Tested]:
    """Trains on each round's train part, keeps the epoch that is best on its validation part, predicts its test part.

    folder: holds a sub-folder per round with checkpoints, the network's arch.json and the prediction; rounds that are
    finished there are read, the one that was interrupted goes on at its last epoch. supernet: the last.pt whose weights
    the network starts from; None: its own random ones. on_epoch: (round, epoch, epochs, validation metrics).
    Raises NASError where the folder holds another training, where the supernet is of another space or has learned from
    other samples than the search's training part of this split, and where a training fails (NaN loss, out of memory).
    """
    return [
        _one_round(network, setting, part, training, seed, folder / part.name, supernet, partial(on_epoch, part.name))
        for part in rounds
    ]


def _one_round(
    network: Artifact,
    setting: Setting,
    part: Round,
    training: TrainingSettings,
    seed: int,
    folder: Path,
    supernet: Path | None,
    on_epoch: OnEpoch,
) -> Tested:
    fingerprint = _fingerprint(network, setting, part, training, seed, supernet)
    if is_main():
        _described(network, setting, part, seed).save(folder / ARCHITECTURE)
    done = folder / f"prediction-{fingerprint[:12]}.npy"
    if done.exists():
        return Tested(part.name, part.test, np.load(done, allow_pickle=False))
    torch.manual_seed(_seed_of(seed, network.arch.id, part.name))
    model = network.build(setting.task.spec).to(setting.device)
    train, valid, test = (
        VolumeSet(setting.store, rows, setting.device) for rows in (part.train, part.valid, part.test)
    )
    if supernet is not None:
        searched_on = VolumeSet(setting.store, setting.split.search[0], setting.device)
        space = searched_space(network)
        weights = load_supernet(supernet, space, setting.task.spec, searched_on)
        _inherit(model, weights.subnetwork(space.architecture(network.arch.genes)))
    try:
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
    except TrialFailed as failure:
        raise NASError(
            f"{failure} in {folder}", "a training that ends", "lower training.lr or the batch size"
        ) from failure
    prob = predict(model, setting.task, test.scaled_as(train), training.batch_size)
    if is_main():
        content = io.BytesIO()
        np.save(content, prob, allow_pickle=False)
        write_bytes(done, content.getvalue())
    return Tested(part.name, part.test, prob)


def _inherit(model: nn.Module, weights: nn.Module) -> None:
    """What only the training adds, such as classifiers for deep supervision, keeps its own first weights."""
    found, own = weights.state_dict(), model.state_dict()
    unlike = [name for name, value in found.items() if name not in own or own[name].shape != value.shape]
    if unlike:
        raise NASError(
            f"a network whose {unlike[0]} is not as in the supernet",
            "space_changes that keep the sizes of weights",
            "leave out supernet= or the space_changes",
        )
    model.load_state_dict({**own, **found})


def _described(network: Artifact, setting: Setting, part: Round, seed: int) -> Artifact:
    """The network with what `nas.export.onnx` has to know of its training: what its weights belong to."""
    preparation = dict(setting.preparation)
    if setting.store.by_training:
        preparation["intensity"] = asdict(setting.store.intensity(part.train))
    training = TrainingRecord(
        input_shape=tuple(setting.store.input_shape),
        classes=tuple(setting.store.classes),
        preparation=preparation,
        inference=setting.task.inference,
        data=setting.data_facts,
        split=setting.split_facts,
        round=part.name,
        seed=seed,
    )
    return replace(network, task=setting.task.spec, provenance=replace(network.provenance, training=training))


def _fingerprint(
    network: Artifact, setting: Setting, part: Round, training: TrainingSettings, seed: int, supernet: Path | None
) -> str:
    rows = [part.train.tolist(), part.valid.tolist(), part.test.tolist()]
    content = [network.arch.id, setting.store.sha256, setting.split.sha256, rows, repr(asdict(training)), seed]
    if setting.store.patches is not None:
        content.append(repr(setting.store.patches))
    if supernet is not None and supernet.is_file():
        content.append(hashlib.sha256(supernet.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _seed_of(seed: int, *words: str) -> int:
    digest = hashlib.blake2s(f"{seed}|{'|'.join(words)}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
