"""Trains, predicts and evaluates; every setting is in conf/brain_tumor.yaml.

python -m experiments.brain_tumor train    name=a data.root=/path/to/BraTS [arch=outputs/search/arch.json]
python -m experiments.brain_tumor predict  name=a data.root=/path/to/BraTS [subjects=test]
python -m experiments.brain_tumor evaluate name=a data.root=/path/to/BraTS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from experiments.brain_tumor.evaluate import evaluate
from experiments.brain_tumor.predict import predict
from experiments.brain_tumor.train import train
from experiments.cli import run_as_command
from nas.errors import NASError

COMMANDS: dict[str, Callable[[DictConfig, Path], object]] = {"train": train, "predict": predict, "evaluate": evaluate}


@hydra.main(version_base="1.3", config_path="../../conf", config_name="brain_tumor")
def run(cfg: DictConfig) -> None:
    if cfg.command not in COMMANDS:
        raise NASError(
            f"the command {cfg.command!r}",
            f"one of {', '.join(COMMANDS)}",
            "python -m experiments.brain_tumor train data.root=/path/to/BraTS",
        )
    COMMANDS[cfg.command](cfg, Path(cfg.folder))


def main() -> None:
    """The first word that is neither a setting nor an option names the command."""
    words = sys.argv[1:]
    place = next((i for i, word in enumerate(words) if "=" not in word and not word.startswith("-")), None)
    if place is not None:
        sys.argv[1 + place] = f"command={words[place]}"
    run_as_command(run)


if __name__ == "__main__":
    main()
