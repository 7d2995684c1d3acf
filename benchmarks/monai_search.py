"""MONAI's DiNTS search (supernet, regularisers, decode) with the data, split and schedule of our search.

Source of the terms and their weights: the search script of MONAI's pancreas bundle (`pancreas_ct_dints_segmentation`),
except the memory factor. Only the training loop (`nas/supernets/trainer.py`: halves of the patients, optimisers,
augmentation) is ours.

python -m benchmarks.monai_search outputs/monai experiment=dints_hippocampus_gradient data.root=/path/to/data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import DiNTS, TopologySearch
from omegaconf import DictConfig
from torch import nn

from benchmarks.composed import composed
from experiments.build import build
from experiments.cli import run_command
from experiments.config import SearchConfig
from experiments.context import task_setup
from nas.architecture import Architecture
from nas.artifact import Artifact
from nas.data.loading import VolumeSet
from nas.provenance import Provenance, SearchRecord
from nas.strategies import Differentiable
from nas.supernets.base import Costs, Decoded, Supernet
from nas.supernets.settings import ArchitectureSettings
from nas.supernets.trainer import SupernetTraining
from nas.task_spec import TaskSpec
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.monai_code import from_monai

RAM_FACTOR = 0.45  # relative to the memory of all edges; 0.8 in the bundle gives nearly twice our MACs
WEIGHTS = {"topology": 0.001}  # weights of all other terms are 1


class MonaiSupernet(Supernet):
    """MONAI's `DiNTS` with its `TopologySearch`; `patch` is the size (D, H, W) of training images."""

    def __init__(self, space: DiNTSSpace, task: TaskSpec, patch: Sequence[int]) -> None:
        super().__init__()
        self.space, self.patch = space, (2, task.in_channels, *patch)
        alike: dict[str, Any] = {"use_downsample": space.use_downsample, "spatial_dims": task.dims}
        sizes: dict[str, Any] = {name: getattr(space, name) for name in ("channel_mul", "num_blocks", "num_depths")}
        self.lattice = TopologySearch(device="cpu", **sizes, **alike)
        self.network = DiNTS(self.lattice, task.in_channels, task.outputs, **alike)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return self.network(x_BCDHW)

    def architecture_parameters(self) -> Mapping[str, nn.Parameter]:
        return {"log_alpha_a": self.lattice.log_alpha_a, "log_alpha_c": self.lattice.log_alpha_c}

    def regularisers(self) -> Mapping[str, torch.Tensor]:
        sets_BN, _ = self.lattice.get_prob_a(child=True)  # probabilities of the N sets of edges of a block
        operations_BEO = self.lattice.log_alpha_c.softmax(-1)
        full = self.lattice.get_ram_cost_usage(self.patch, full=True)
        return {
            "edge_entropy": -(sets_BN * (sets_BN + 1e-5).log()).mean(),
            "operation_entropy": -(operations_BEO * self.lattice.log_alpha_c.log_softmax(-1)).mean(),
            "memory": (RAM_FACTOR - self._memory() / full).abs(),
            "topology": self.lattice.get_topology_entropy(sets_BN),
        }

    def expected_cost(self, costs: Costs) -> torch.Tensor:
        """Return MONAI's estimate of the memory, the only cost in its search."""
        return self._memory()

    def _memory(self) -> torch.Tensor:
        return self.lattice.get_ram_cost_usage(self.patch)

    def decode(
        self, k: int = 1, costs: Costs | None = None, budget: float | None = None, target: float | None = None
    ) -> list[Decoded]:
        _, edges_BE, operations_BE, _ = self.lattice.decode()
        return [Decoded(from_monai(self.space, {"arch_code_a": edges_BE, "arch_code_c": operations_BE}), 0.0)]

    def subnetwork(self, arch: Architecture) -> nn.Module:
        """Return the supernet itself, as MONAI's search validates nothing else."""
        return self


def monai_search(cfg: DictConfig, folder: Path) -> Artifact:
    """Run a composed search with strategy=differentiable; resume in `folder`."""
    config = SearchConfig.of(cfg)
    setting, space = task_setup(config), build(config.space, "space", DiNTSSpace)
    strategy = build(config.strategy, "strategy", Differentiable)
    train, valid = (VolumeSet(setting.store, rows, setting.device) for rows in setting.split.search)
    own = strategy.architecture
    torch.manual_seed(config.seed)
    training = SupernetTraining(
        MonaiSupernet(space, setting.task.spec, setting.store.input_shape[1:]),
        setting.task,
        train,
        valid,
        strategy.settings,
        ArchitectureSettings(own.warm_up, own.lr, own.betas, WEIGHTS, validate_every=own.validate_every),
        Costs(lambda genes_NG: genes_NG[:, 0] * 0.0),
        seed=config.seed,
        device=setting.device,
        folder=folder,
        fingerprint=f"MONAI's supernet of {space.fingerprint}",
    )
    training.run()
    rows = np.concatenate(setting.split.search)
    record = SearchRecord(
        "MONAI's DiNTS search",
        trials=1,
        trial=0,
        budget=0,
        seed=config.seed,
        data=setting.data_facts,
        split=setting.split_facts,
        trains=False,
        patients=tuple(setting.store.patient_digests(rows)),
        contents=tuple(setting.store.content_digests(rows)),
    )
    return Artifact(space, training.decoded(), setting.task.spec, provenance=Provenance(search=record))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of arch.json")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes of conf/search.yaml")
    options = parser.parse_args(arguments)
    monai_search(composed("search", options.overrides), options.folder).save(options.folder / "arch.json")


if __name__ == "__main__":
    sys.exit(run_command(main))
