"""Trains, predicts and evaluates; every setting is in conf/brain_tumor.yaml.

python -m experiments.brain_tumor train    name=a data.root=/path/to/BraTS [arch=outputs/search/arch.json]
python -m experiments.brain_tumor predict  name=a data.root=/path/to/BraTS [subjects=test]
python -m experiments.brain_tumor evaluate name=a data.root=/path/to/BraTS
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.hydra_command import run_hydra_command
from nas.errors import NASError

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS = ("train", "predict", "evaluate")
EXAMPLES = ("train name=a data.root=/path/to/BraTS", "predict name=a data.root=/path/to/BraTS subjects=test")


def run(cfg: DictConfig) -> None:
    if cfg.command not in COMMANDS:
        raise NASError(
            f"the command {cfg.command!r}",
            f"one of {', '.join(COMMANDS)}",
            "python -m experiments.brain_tumor train data.root=/path/to/BraTS",
        )
    body = getattr(import_module(f"experiments.brain_tumor.{cfg.command}"), cfg.command)
    body(cfg, Path(cfg.folder))


def main() -> None:
    """The first word that is neither a setting nor an option names the command."""
    words = sys.argv[1:]
    place = next((i for i, word in enumerate(words) if "=" not in word and not word.startswith("-")), None)
    if place is not None:
        sys.argv[1 + place] = f"command={words[place]}"
    run_hydra_command(run, "brain_tumor", "Train, predict and evaluate on BraTS (also: voxnas brats).", EXAMPLES)


if __name__ == "__main__":
    main()
