"""The console command `voxnas`: one name for all commands.

A command is imported when it is called, by its name as in an entry point, so that `voxnas predict` runs where neither
torch nor Hydra nor Optuna is installed.
"""

from __future__ import annotations

import importlib
import sys

from nas.errors import NASError

# name -> (module, whether its `main` takes the words and returns the exit code, what it does)
COMMANDS = {
    "search": ("run_search", False, "search for a network"),
    "train": ("run_train", False, "retrain, test and export networks"),
    "study": ("experiments.commands.study", True, "look at studies, export and delete them"),
    "cost": ("experiments.commands.cost", True, "measure a latency table of this machine"),
    "export": ("experiments.commands.export", True, "a trained network as ONNX or OpenVINO"),
    "predict": ("experiments.commands.predict", True, "an exported network on image files, without torch"),
    "serve": ("experiments.lung_detector.serve", True, "the lung-tumour detector over HTTP"),
}


def main() -> None:
    """Exit code 2 with one line for a command that is unknown or whose packages are missing."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        lines = [f"  {name:<8} {what}" for name, (_, _, what) in COMMANDS.items()]
        print("\n".join(["usage: voxnas <command> [...]", "", *lines, "", "voxnas <command> --help says more"]))
        return
    try:
        code = run(name, words)
    except NASError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


def run(name: str, words: list[str]) -> int:
    if name not in COMMANDS:
        raise NASError(f"the command {name!r}", f"one of {', '.join(COMMANDS)}", "voxnas --help")
    module, takes_words, what = COMMANDS[name]
    try:
        command = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        raise NASError(
            f"no module {error.name}", f"what `voxnas {name}` needs ({what})", "pip install voxnas with its extras"
        ) from error
    if takes_words:
        return int(command(words) or 0)
    sys.argv = [f"voxnas {name}", *words]
    command()
    return 0


if __name__ == "__main__":
    main()
