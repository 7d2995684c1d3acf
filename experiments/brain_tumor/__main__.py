"""Segmentation of subjects and scores by regions; every setting is in conf/brain_tumor.yaml. Also `voxnas brats`.

python run_train.py experiment=brain_tumor name=a data.root=/path/to/BraTS [arch=outputs/search/arch.json]
python -m experiments.brain_tumor predict  name=a data.root=/path/to/BraTS [subjects=test]
python -m experiments.brain_tumor evaluate name=a data.root=/path/to/BraTS
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from experiments.cli import run_command
from experiments.hydra_command import run_hydra_command
from nas.errors import NASError

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS = ("predict", "evaluate")
TRAIN = "python run_train.py experiment=brain_tumor name=a data.root=/path/to/BraTS"
SUMMARY = "Segment brain tumours and evaluate the predictions (also: voxnas brats)."
EXAMPLES = ("predict name=a data.root=/path/to/BraTS subjects=test", "evaluate name=a data.root=/path/to/BraTS")


def run(cfg: DictConfig) -> None:
    """Run the command of the configuration.

    Args:
        cfg: Configuration of the command.
    """
    getattr(import_module(f"experiments.brain_tumor.{cfg.command}"), cfg.command)(cfg)


def main() -> None:
    """Run the command that the first word names which is neither a setting nor an option."""
    words = sys.argv[1:]
    place = next((i for i, word in enumerate(words) if "=" not in word and not word.startswith("-")), None)
    command = None if place is None else words[place]
    if command not in COMMANDS and not {"-h", "--help", "--hydra-help", "--info", "--cfg", "-c"} & set(words):
        sys.exit(run_command(lambda: _refuse(command)))
    if place is not None:
        sys.argv[1 + place] = f"command={command}"
    run_hydra_command(run, "brain_tumor", SUMMARY, EXAMPLES)


def _refuse(command: str | None) -> int:
    fix = TRAIN if command == "train" else "python -m experiments.brain_tumor predict data.root=/path/to/BraTS"
    raise NASError(f"the command {command!r}", f"one of {', '.join(COMMANDS)}", fix)


if __name__ == "__main__":
    main()
