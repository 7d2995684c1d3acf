"""A trained network of brain tumours: its bundle, and how it sees a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.bundle import Bundle, bundles_of
from nas.cost.model import static_costs
from nas.data.io.brats_folder import Convention, Subject, convention_of
from nas.data.sources.brats import Brats, Seen
from nas.errors import NASError
from nas.retraining.folds import group_digest

PARTS = ("train", "valid", "test")
SETTINGS = ("modalities", "size", "order")  # of `Brats`, which decide how a subject is seen
FIRST = "brats2018"  # the only numbers of classes that bundles of earlier versions have


@dataclass(frozen=True)
class TumourNetwork:
    """A bundle that was trained on BraTS subjects.

    Attributes:
        bundle: The trained network.
        source: `Brats` with the modalities, size, order and labels of the training, for subjects in any place.
    """

    bundle: Bundle
    source: Brats

    @classmethod
    def load(cls, folder: str | Path, trusted: Sequence[str] = ()) -> TumourNetwork:
        """Read the network with the best validation score.

        Args:
            folder: Folder of run_train.py, or of one bundle.
            trusted: Further packages whose search spaces may be imported.

        Returns:
            The network.

        Raises:
            NASError: If there is no bundle, it is damaged, or it was trained on other data.
        """
        (bundle,) = bundles_of(folder, best=1, trusted=trusted)
        how = bundle.spec.preparation
        if bundle.artifact.task.kind != "segmentation" or not set(SETTINGS) <= set(how):
            raise NASError(
                f"{folder}, which was not trained on BraTS subjects",
                "a training with data=brats",
                "python run_train.py experiment=brain_tumor data.root=/path/to/BraTS",
            )
        return cls(bundle, Brats(None, ".", **{name: how[name] for name in SETTINGS}, labels=how.get("labels", FIRST)))

    @property
    def convention(self) -> Convention:
        """Numbers of the classes in the files of the training, which predictions have too."""
        return self.source.convention

    def convention_of(self, subjects: Sequence[Subject], name: str | None) -> Convention:
        """Return the numbers of the classes in the files of other subjects.

        Args:
            subjects: Subjects with labels.
            name: Name of the convention. If None, that of the files; if these fit several, that of the training,
                unless this is brats2018, whose label 4 has another meaning since 2024.

        Returns:
            The convention.

        Raises:
            NASError: If a subject fits no convention or several.
        """
        return convention_of(subjects, name, None if self.convention.name == FIRST else self.convention.name)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The channels of an input, in their order."""
        return self.source.modalities

    @property
    def settings(self) -> dict[str, Any]:
        """How a subject is seen: preparation and inference."""
        how = self.bundle.spec.preparation
        return {**{name: how[name] for name in SETTINGS}, **self.bundle.spec.inference}

    def costs(self) -> dict[str, float]:
        """Return parameters and MACs of one subject, seen once.

        Returns:
            Costs by name.
        """
        artifact, shape = self.bundle.artifact, self.bundle.spec.inputs[0].shape[1:]
        return static_costs(artifact.space, artifact.arch, artifact.task, tuple(map(int, shape)))

    def part_of(self, subject: str) -> str:
        """Return the part of the training that a subject was in.

        Args:
            subject: Name of the subject.

        Returns:
            "train", "valid", "test", several of them joined by "and", or "new" for a subject that the training did not
            have.
        """
        digest = group_digest(subject)
        return " and ".join(part for part, digests in self._digests().items() if digest in digests) or "new"

    def size_of(self, part: str) -> int:
        """Return the number of subjects of a part of the training.

        Args:
            part: Name of the part.

        Returns:
            Number of subjects.
        """
        return len(self._digests()[part])

    def seen(self, subject: Subject) -> Seen:
        """Read a subject in the form of the network's input.

        Args:
            subject: The subject.

        Returns:
            The volume and its grid.

        Raises:
            NASError: If its modalities do not fit each other.
        """
        return self.source.seen(subject)

    def probabilities(self, model: torch.nn.Module, seen: Seen, device: torch.device) -> Any:
        """Predict class probabilities on the grid of the network.

        Args:
            model: The network.
            seen: The subject as `seen` returns it.
            device: Device of the prediction.

        Returns:
            (K, D, H, W) float32.
        """
        x_BCDHW = torch.from_numpy(seen.volume_CDHW)[None].to(device)
        return self.bundle.task.predict(model, x_BCDHW)[0].cpu().numpy()

    def _digests(self) -> Mapping[str, Sequence[str]]:
        groups = self.bundle.spec.facts.get("trained", {}).get("groups", {})
        return {part: groups.get(part, ()) for part in PARTS}
