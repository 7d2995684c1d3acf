"""A trained network as a folder: its architecture, its weights, and the preparation of its input.

    arch.json    the architecture
    weights.pt   the state of the network; read with weights_only=True
    model.json   the specification: preparation, task, classes, inputs, outputs, validation metrics, checksum of weights
    curves.csv   loss, learning rate and validation metrics of every epoch
    MODEL_CARD.md  the same facts and, after the test, the results as a text for readers

A training leaves one bundle per fold below `bundles/<architecture>/`. Export, prediction, screening and service read
bundles and nothing else.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.artifact import Artifact
from nas.artifact import load as load_artifact
from nas.context import versions
from nas.errors import NASError, first_line, last_line
from nas.inference.model_card import MODEL_CARD, model_card
from nas.inference.model_spec import BUNDLES, EVALUATION, MODEL_JSON, RESULT, ModelSpec, Port, Sides
from nas.task_spec import TaskSpec
from nas.tasks.base import Task, task_of
from nas.tasks.temperature import at_temperature
from nas.training.curves import CURVES, read_curves, write_curves
from nas.training.tensor_file import UNREADABLE, load_verified
from nas.utils.files import read_json, staged, write_bytes, write_text
from nas.utils.hashing import file_digest

ARCH, WEIGHTS = "arch.json", "weights.pt"
CHECKSUMS = "checksums"  # of the specification: of files beside the weights
PACKAGES = ("voxnas", "torch", "numpy")
CPU = torch.device("cpu")
TRAIN = "train the network with run_train.py"
EARLIER = ("checkpoints/*/*/best.pt", "system.json", "detector.pt", "best.pt")  # results of earlier versions


@dataclass(frozen=True)
class Bundle:
    """A trained network with everything that a prediction needs.

    Attributes:
        artifact: The architecture and its task.
        spec: Preparation of the input, classes, inputs, outputs, validation metrics.
        weights: The state of the network, on the CPU.
        task: The task, with the settings that a prediction depends on.
        curves: One entry per epoch of the training: epoch, loss, lr and validation metrics.
        fault: Why no network is built: model.json was damaged or edited, though its entries fit. None if it is intact.
    """

    artifact: Artifact
    spec: ModelSpec
    weights: Mapping[str, torch.Tensor]
    task: Task
    curves: tuple[Mapping[str, float], ...] = ()
    fault: NASError | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        artifact: Artifact,
        task: Task,
        input_shape: Sequence[int],
        *,
        classes: Sequence[str],
        preparation: Mapping[str, Any],
        facts: Mapping[str, Any] | None = None,
        curves: Sequence[Mapping[str, float]] = (),
    ) -> Bundle:
        """Describe a trained network.

        Args:
            model: The network; its state is copied.
            artifact: Its architecture.
            task: The task that it was trained for.
            input_shape: Shape of an input in training: (C, D, H, W), in 2D (C, H, W).
            classes: Names of the classes, in the order of the outputs.
            preparation: How an input is made of a file, see nas/data/transforms/preparation.py.
            facts: Further facts for the specification, as JSON values.
            curves: One entry per epoch.

        Returns:
            The bundle, which is not yet written.
        """
        task_spec = task.spec
        spec = ModelSpec(
            task=asdict(task_spec),
            inputs=(_input(task_spec, input_shape, preparation.get("channels", ())),),
            outputs=(Port(*task.output(input_shape), tuple(classes)),),
            sides=Sides(fixed=tuple(input_shape[1:])),
            preparation=dict(preparation),
            inference=dict(task.inference),
            facts={
                "network": {
                    "id": artifact.arch.id,
                    "space": artifact.space.class_path,
                    "name": artifact.provenance.published,
                },
                **(facts or {}),
                "versions": versions(PACKAGES),
            },
            task_class=f"{type(task).__module__}.{type(task).__qualname__}",
        )
        weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return cls(replace(artifact, task=task_spec), spec, weights, task, tuple(curves))

    @classmethod
    def load(cls, folder: str | Path, *, trusted: Sequence[str] = ()) -> Bundle:
        """Read a bundle.

        No code is loaded from its files; the classes of the space and of the task come from trusted packages.

        Args:
            folder: Folder that `save` wrote.
            trusted: Further packages whose spaces and tasks may be imported, as the user (never a file) names them.

        Returns:
            The bundle.

        Raises:
            NASError: If there is no bundle, a file is missing or damaged, the weights do not match their checksum, or
                architecture and specification are of different networks.
        """
        folder = Path(folder)
        if not (folder / MODEL_JSON).is_file():
            raise _no_bundle(folder)
        spec = ModelSpec.load(folder / MODEL_JSON, sealed=False)
        if not spec.weights:
            raise NASError(f"{folder}, an exported network", "a bundle, which has weights", TRAIN)
        artifact = load_artifact(folder / ARCH, trusted)
        own = spec.facts.get("network")
        if not isinstance(own, dict) or own.get("id") != artifact.arch.id:
            raise _damaged(folder, f"{MODEL_JSON} and {ARCH} are of different networks")
        try:
            if asdict(artifact.task) != dict(spec.task):
                raise ValueError(f"the tasks in {MODEL_JSON} and {ARCH} differ")
            weights = _read_weights(folder / WEIGHTS, spec.weights.get(WEIGHTS))
            checksums = spec.facts.get(CHECKSUMS, {})
            if not isinstance(checksums, dict):
                raise TypeError(f"{CHECKSUMS} of another type than dict")
            for name, checksum in checksums.items():
                if file_digest(folder / Path(name).name) != checksum:
                    raise ValueError(f"{name} does not match its checksum")
            curves = tuple(read_curves(folder))
        except UNREADABLE as error:
            raise _damaged(folder, first_line(error)) from error
        try:
            # the temperature is fitted by the training: constructors of subclasses need not take it
            settings = {name: value for name, value in spec.inference.items() if name != "temperature"}
            task = task_of({**settings, "class": spec.task_class, "spec": spec.task}, trusted)
            task = at_temperature(task.for_classes(spec.classes), spec.inference.get("temperature"))
        except ValueError as error:
            raise _damaged(folder, f"{MODEL_JSON} with {error}") from error
        fault: NASError | None = None
        try:
            ModelSpec.load(folder / MODEL_JSON)
        except NASError as error:
            fault = error
        return cls(artifact, spec, weights, task, curves, fault)

    def network(self, device: torch.device | str = CPU) -> nn.Module:
        """Build the network with its weights, in evaluation mode.

        Args:
            device: Device of the network.

        Returns:
            The network.

        Raises:
            NASError: If the weights are not those of the architecture, or model.json does not match its checksum.
        """
        if self.fault is not None:
            raise self.fault
        model = self.artifact.build()
        try:
            model.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise NASError(
                f"weights that are not those of {self.artifact.arch.id} ({last_line(error)})",
                "the weights of this architecture",
                TRAIN,
            ) from error
        return model.eval().to(device)

    def save(self, folder: str | Path) -> None:
        """Write the bundle; the specification comes last, so that a folder with a specification is complete.

        Args:
            folder: Folder of the bundle, made if needed. Files of an older bundle are replaced.
        """
        content = io.BytesIO()
        torch.save(dict(self.weights), content)
        with staged(folder, last=MODEL_JSON) as place:
            self._write(place, content.getvalue())

    def _write(self, folder: Path, content: bytes) -> None:
        self.artifact.save(folder / ARCH)
        write_bytes(folder / WEIGHTS, content)
        write_curves(folder, self.curves)
        weights = {WEIGHTS: hashlib.sha256(content).hexdigest()}
        facts = {**self.spec.facts, CHECKSUMS: {CURVES: file_digest(folder / CURVES)}}
        spec = replace(self.spec, weights=weights, facts=facts)
        write_text(folder / MODEL_CARD, model_card(spec))
        spec.save(folder)


def bundles_of(
    training: str | Path, *, arch: str | None = None, best: int | None = None, trusted: Sequence[str] = ()
) -> list[Bundle]:
    """Read the bundles of a training, best validation score first.

    Args:
        training: Folder of run_train.py, or of one bundle.
        arch: Id of the architecture. If None, the one that `result.json` names first.
        best: Number of bundles to read, the best ones. If None, all.
        trusted: See `Bundle.load`.

    Returns:
        At least one bundle. If `result.json` names the folds of its networks, those of other folds are left out.

    Raises:
        NASError: If the folder holds no finished training, the architecture was not trained there, or a bundle is
            damaged.
    """
    training = Path(training)
    if (training / MODEL_JSON).is_file():
        bundle = Bundle.load(training, trusted=trusted)
        if arch not in (None, bundle.artifact.arch.id):
            raise NASError(f"no network {arch} in {training}", "a training of that architecture", TRAIN)
        return [bundle]
    if not (training / BUNDLES).is_dir():
        raise _no_bundle(training)
    wanted = arch or _first_architecture(training)
    folders = [
        path.parent for path in sorted((training / BUNDLES).glob(f"*/*/{MODEL_JSON}")) if path.parts[-3] == wanted
    ]
    if tested := _tested_folds(training):  # an earlier training in the same folder may have left more
        folders = [folder for folder in folders if folder.name in tested]
    if not folders:
        raise NASError(f"no network {wanted} in {training}", "a training of that architecture", TRAIN)
    folders.sort(key=lambda folder: -_score(folder))
    return [Bundle.load(folder, trusted=trusted) for folder in folders[: best or None]]


def bundle_folder(training: Path, arch: str, fold: str) -> Path:
    """Return the folder of the bundle of one fold.

    Args:
        training: Folder of the training.
        arch: Id of the architecture.
        fold: Name of the fold.

    Returns:
        The folder.
    """
    return training / BUNDLES / arch / fold


def _no_bundle(folder: Path) -> NASError:
    if any(next(folder.glob(pattern), None) for pattern in EARLIER) or (folder.suffix == ".pt" and folder.is_file()):
        return NASError(
            f"{folder}, a training of an earlier version, without bundles", "bundles", "train again with run_train.py"
        )
    return NASError(
        f"{folder}, which holds no finished training", "a folder outputs/train/<name>, or one of its bundles", TRAIN
    )


def _damaged(folder: Path, reason: str) -> NASError:
    return NASError(
        f"the bundle {folder}, which is damaged ({reason})",
        "the files of one training, unedited",
        "copy the folder again, or delete it and repeat the training command",
    )


def _first_architecture(training: Path) -> str:
    try:
        return str(read_json(training / RESULT)["arch_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NASError(
            f"{training}, which holds no finished training ({type(error).__name__}: {str(error)[:120]})",
            f"a folder with {RESULT}",
            "repeat the training command, which continues where it stopped",
        ) from error


def _tested_folds(training: Path) -> set[str]:
    """Return the folds whose networks result.json tests; none without a readable one, or if it names none."""
    try:
        content = read_json(training / RESULT)
        return set() if content.get("protocol") == EVALUATION else {str(fold["fold"]) for fold in content["folds"]}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()


def _score(folder: Path) -> float:
    facts = ModelSpec.load(folder / MODEL_JSON, sealed=False).facts
    try:
        sign = -1.0 if facts.get("direction") == "minimize" else 1.0
        return sign * float(facts["validation"][facts["score"]])
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(folder, f"{MODEL_JSON} without a validation score") from error


def _read_weights(path: Path, checksum: str | None) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise ValueError(f"no file {path.name}")
    if file_digest(path) != checksum:
        raise ValueError(f"{path.name} does not match its checksum")
    state = load_verified(path)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise TypeError(f"{path.name} holds no state of a network")
    for name, value in state.items():  # a copy into the network would drop imaginary parts, and give NaN scores
        if value.is_complex() or not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} in {path.name} is complex or not finite")
    return state


def _input(spec: TaskSpec, input_shape: Sequence[int], channels: Sequence[str]) -> Port:
    return Port("image", "BC" + "DHW"[-spec.dims :], ("batch", *input_shape), tuple(channels))
