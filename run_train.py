"""Retrains and tests architectures, beside baselines, and writes the table: see conf/train.yaml.

python run_train.py arch=outputs/demo/arch.json
python run_train.py -m arch=naslung/model-1 seed=0,1,2
"""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli import run_as_command
from experiments.train.job import run_train_experiment


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def run(cfg: DictConfig) -> None:
    run_train_experiment(cfg, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    run_as_command(run)


if __name__ == "__main__":
    main()
