"""Searches a space on a data set and writes the chosen architecture: see conf/search.yaml.

python run_search.py experiment=demo
python run_search.py -m strategy=random,pop seed=0,1,2
"""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli import run_as_command, shares_terminal
from experiments.search.job import run_search_experiment


@hydra.main(version_base="1.3", config_path="conf", config_name="search")
def run(cfg: DictConfig) -> None:
    silent = shares_terminal()
    folder = Path(HydraConfig.get().runtime.output_dir)
    run_search_experiment(cfg, folder, quiet=silent and cfg.worker != 0, silent=silent)


def main() -> None:
    run_as_command(run)


if __name__ == "__main__":
    main()
