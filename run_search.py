"""Search a space on a data set and write the chosen architecture: see conf/search.yaml.

python run_search.py experiment=demo
python run_search.py -m strategy=random,pop seed=0,1,2
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

PREVIEW = "experiments.search.preview:preview_search"  # of dry_run=true
EXAMPLES = (
    "experiment=demo",
    "space=naslung strategy=pop study.trials=100",
    "-m strategy=random,pop seed=0,1,2",
    "-m strategy=random,pop seed=0,1,2 dry_run=true",
)


def run(cfg: DictConfig) -> None:
    from experiments.hydra_main import output_folder, shares_terminal
    from experiments.search.job import run_search_experiment
    from experiments.sweep import study_of_job
    from experiments.workers import job_of_launcher

    if cfg.study.url is not None:
        cfg.study.name = study_of_job(cfg.study.name)
    silent = shares_terminal()
    with job_of_launcher():
        run_search_experiment(cfg, output_folder(), quiet=silent and cfg.worker != 0, silent=silent)


def main() -> None:
    from experiments.hydra_command import run_hydra_command

    run_hydra_command(run, "search", "Search a space for architectures.", EXAMPLES, PREVIEW)


if __name__ == "__main__":
    from run_search import main as imported_main  # the processes of a launcher find the job by this name

    imported_main()
