"""Retrain and test architectures beside baselines, and write the table: see conf/train.yaml.

python run_train.py arch=outputs/demo/arch.json
python run_train.py -m arch=naslung/model-1 seed=0,1,2
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

# The packages beside this file, also if the user's folder has an `experiments` or `conf` of its own
sys.path.insert(0, str(Path(__file__).resolve().parent))
import conf  # noqa: F401
import experiments  # noqa: F401
import nas  # noqa: F401
import search_spaces  # noqa: F401

sys.path.pop(0)
if TYPE_CHECKING:
    from omegaconf import DictConfig

PREVIEW = "experiments.train.preview:preview_training"  # of dry_run=true
EXAMPLES = (
    "arch=outputs/demo/arch.json experiment=demo",
    "arch=naslung/model-1 export=[onnx]",
    "-m arch=naslung/model-1 seed=0,1,2",
)


def run(cfg: DictConfig) -> None:
    from experiments.hydra_main import output_folder
    from experiments.train.job import run_train_experiment
    from experiments.workers import job_of_launcher

    with job_of_launcher():
        run_train_experiment(cfg, output_folder())


def main() -> None:
    from experiments.hydra_command import run_hydra_command

    run_hydra_command(run, "train", "Retrain, test and export architectures.", EXAMPLES, PREVIEW)


if __name__ == "__main__":
    from run_train import main as imported_main  # the processes of a launcher find the job by this name

    imported_main()
