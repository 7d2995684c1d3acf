"""Segmentation of subjects and scores by regions; every setting is in conf/brain_tumor.yaml.

python run_train.py experiment=brain_tumor name=a data.root=/path/to/BraTS [arch=outputs/search/arch.json]
python -m experiments.brain_tumor predict  name=a data.root=/path/to/BraTS [subjects=test]
python -m experiments.brain_tumor evaluate name=a data.root=/path/to/BraTS
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import hydra
from omegaconf import DictConfig

from experiments.brain_tumor.evaluate import evaluate
from experiments.brain_tumor.predict import predict
from experiments.cli import run_as_command
from nas.errors import NASError

COMMANDS: dict[str, Callable[[DictConfig], object]] = {"predict": predict, "evaluate": evaluate}
TRAIN = "python run_train.py experiment=brain_tumor name=a data.root=/path/to/BraTS"


@hydra.main(version_base="1.3", config_path="../../conf", config_name="brain_tumor")
def run(cfg: DictConfig) -> None:
    """Run the command of the configuration."""
    COMMANDS[cfg.command](cfg)


def main() -> None:
    """Run the command that the first word names which is neither a setting nor an option."""
    words = sys.argv[1:]
    place = next((i for i, word in enumerate(words) if "=" not in word and not word.startswith("-")), None)
    command = None if place is None else words[place]
    if command not in COMMANDS and not {"-h", "--help", "--hydra-help", "--info", "--cfg", "-c"} & set(words):
        fix = TRAIN if command == "train" else "python -m experiments.brain_tumor predict data.root=/path/to/BraTS"
        error = NASError(f"the command {command!r}", f"one of {', '.join(COMMANDS)}", fix)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if place is not None:
        sys.argv[1 + place] = f"command={command}"
    run_as_command(run)


if __name__ == "__main__":
    main()
