"""The folder of a training, with networks that were never trained: bundles of two folds and result.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.artifact import Artifact
from nas.bundle import Bundle, bundle_folder
from nas.inference.model_spec import RESULT
from nas.provenance import Provenance
from nas.space import SearchSpace
from nas.tasks.base import Task
from nas.tasks.segmentation import Segmentation
from search_spaces.unet import UNetSpace

WINDOW = (8, 8, 8)
CLASSES = ("background", "front", "back")


def write_training(
    folder: Path,
    space: SearchSpace,
    task: Task,
    preparation: Mapping[str, Any],
    classes: Sequence[str],
    side: int,
    *,
    seeds: Sequence[int] = (0, 1),
    trained: Mapping[str, Any] | None = None,
    provenance: Provenance | None = None,
) -> list[nn.Module]:
    """Returns the networks of the folds, in evaluation mode."""
    arch = space.sample(np.random.default_rng(1))
    artifact = Artifact(space, arch, task.spec, provenance=provenance or Provenance())
    networks = []
    for seed in seeds:
        torch.manual_seed(seed)
        network = artifact.build()
        facts = {
            "score": task.score_name,
            "validation": {task.score_name: 0.5 - 0.1 * seed},
            "trained": {"round": f"valid{seed}", **(trained or {})},
        }
        shape = (task.spec.in_channels, *[side] * task.spec.dims)
        bundle = Bundle.of(network, artifact, task, shape, classes=classes, preparation=preparation, facts=facts)
        bundle.save(bundle_folder(folder, arch.id, f"valid{seed}"))
        networks.append(network.eval())
    (folder / RESULT).write_text(json.dumps({"arch_id": arch.id}))
    return networks


def write_segmenter(
    folder: Path, channels: int = 1, seeds: Sequence[int] = (0, 1), spacing_mm: Any = None, **facts: Any
) -> tuple[Segmentation, list[nn.Module]]:
    """A U-Net of three classes that standardises each volume by itself."""
    space = UNetSpace(
        depths=(2,), widths=(4,), block_counts=(1,), kernels=(3,), in_channels=channels, out_channels=len(CLASSES)
    )
    task = Segmentation(in_channels=channels, outputs=len(CLASSES), window=WINDOW, overlap=0.5, precision="fp32")
    preparation = {
        "how": "grid",
        "channels": [f"m{number}" for number in range(channels)],
        "spacing_mm": spacing_mm,
        "normalise": "volume",
        "hounsfield": False,
        "scale": 1.0,
        "offset": 0.0,
    }
    networks = write_training(folder, space, task, preparation, CLASSES, 8, seeds=seeds, **facts)
    return task, networks
