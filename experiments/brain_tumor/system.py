"""What a training leaves behind, whole enough to segment a new subject: network, weights, and how it sees an image."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.artifact import Artifact, load
from nas.data.sources.brats import Brats
from nas.errors import NASError
from nas.tasks.segmentation import Segmentation
from nas.utils.files import write_bytes, write_text

SCHEMA = 1
ARCH, WEIGHTS, CARD = "arch.json", "weights.pt", "system.json"


@dataclass(frozen=True)
class Preparation:
    """How a subject becomes an input: the arguments of `Brats` of these names."""

    modalities: tuple[str, ...]
    size: tuple[int, ...]
    order: str

    @classmethod
    def of(cls, source: Brats) -> Preparation:
        return cls(source.modalities, source.size, source.order)

    def source(self, root: str | None) -> Brats:
        """For the subjects at another place, which are read one by one: nothing is cached."""
        return Brats(root, "", self.modalities, self.size, self.order)


@dataclass(frozen=True)
class System:
    """network: the architecture. preparation: of its inputs. inference: window, overlap and flips, as `Segmentation`
    takes them. parts: "train", "valid" and "test" -> names of the subjects. notes: what else to know of the training.
    """

    network: Artifact
    model: nn.Module
    preparation: Preparation
    inference: Mapping[str, Any]
    parts: Mapping[str, Sequence[str]]
    notes: Mapping[str, Any]

    @property
    def task(self) -> Segmentation:
        spec = self.network.task
        return Segmentation(spec.in_channels, spec.outputs, spec.dims, **self.inference)

    def part_of(self, subject: str) -> str:
        """The part that a subject was in; "new" where the training knew nothing of it."""
        found = [part for part, names in self.parts.items() if subject in names]
        return " and ".join(found) or "new"

    def save(self, folder: Path) -> None:
        """The card is written last: a folder without one holds no system."""
        weights = io.BytesIO()
        torch.save({name: value.cpu() for name, value in self.model.state_dict().items()}, weights)
        self.network.save(folder / ARCH)
        write_bytes(folder / WEIGHTS, weights.getvalue())
        card = {
            "schema": SCHEMA,
            "arch_id": self.network.arch.id,
            "preparation": asdict(self.preparation),
            "inference": dict(self.inference),
            "parts": dict(self.parts),
            "notes": dict(self.notes),
        }
        write_text(folder / CARD, json.dumps(card, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path, allow: Sequence[str] = ()) -> System:
        """Raises NASError for a folder without a finished training, and for files that do not belong together."""
        if not (folder / CARD).is_file():
            raise NASError(f"no file {folder / CARD}", "the folder of a finished training", "train first, or mend name")
        network = load(folder / ARCH, allow)
        model = network.build()
        try:
            card = json.loads((folder / CARD).read_text())
            same = card["schema"] == SCHEMA and card["arch_id"] == network.arch.id
            preparation = card["preparation"]
            found = Preparation(tuple(preparation["modalities"]), tuple(preparation["size"]), preparation["order"])
            model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
            system = cls(network, model.eval(), found, card["inference"], card["parts"], card["notes"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise NASError(
                f"{folder}, which cannot be read ({type(error).__name__}: {str(error)[:120]})",
                "the files of one training, unedited",
                "train again",
            ) from error
        if not same:
            raise NASError(
                f"{CARD} and {ARCH} of different networks in {folder}", "files of one training", "train again"
            )
        return system
