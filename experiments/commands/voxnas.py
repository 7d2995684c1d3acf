"""The console command `voxnas`: one table of all commands.

A command is imported when it is called, so that `voxnas predict` runs without torch, Hydra and Optuna, and `--help`
takes no longer than Python itself.
"""

from __future__ import annotations

import sys

HYDRA, PARSER = "Hydra's settings", "a parser"
# name -> (module, how it takes its arguments, summary). PARSER: the module has `parser()`; HYDRA: `main()`
COMMANDS = {
    "plan": ("experiments.commands.plan", PARSER, "plan search and training of your own data"),
    "auto": ("experiments.commands.auto", PARSER, "from a folder of scans to a model, in a given time"),
    "search": ("run_search", HYDRA, "search a space for architectures"),
    "train": ("run_train", HYDRA, "retrain, test and export architectures"),
    "study": ("experiments.commands.study", PARSER, "inspect, export, resume and delete studies"),
    "tables": ("experiments.tables.command", PARSER, "tables of papers: published rows beside rows of ours"),
    "compare": ("experiments.commands.compare", PARSER, "compare searches and trainings over their seeds"),
    "pooled": ("experiments.commands.pooled", PARSER, "one table over several test folds"),
    "cost": ("experiments.commands.cost", PARSER, "measure a latency table of this machine"),
    "networks": ("experiments.commands.networks", PARSER, "list published networks with their counts"),
    "export": ("experiments.commands.export", PARSER, "write a trained network as ONNX or OpenVINO"),
    "predict": ("experiments.commands.predict", PARSER, "run a trained network on image files"),
    "evaluate": ("experiments.commands.evaluate", PARSER, "test a trained network on labelled scans"),
    "explain": ("experiments.commands.explain", PARSER, "show the voxels that a classification rests on"),
    "serve": ("experiments.lung_detector.serve", PARSER, "serve the lung-tumour detector over HTTP"),
    "screen": ("experiments.lung_screening.command", PARSER, "screen CTs for lung nodules"),
    "brats": ("experiments.brain_tumor.command", PARSER, "segment brain tumours and evaluate the predictions"),
    "spaces": ("experiments.commands.parts.spaces", PARSER, "list the search spaces that are installed"),
    "strategies": ("experiments.commands.parts.strategies", PARSER, "list the search strategies"),
    "evaluators": ("experiments.commands.parts.evaluators", PARSER, "list the evaluators"),
    "tasks": ("experiments.commands.parts.tasks", PARSER, "list the tasks and their metrics"),
    "data": ("experiments.commands.parts.data", PARSER, "list the data sets"),
    "new": ("experiments.commands.new", PARSER, "write a package with a part of your own"),
    "board": ("experiments.commands.board", PARSER, "start the board of live curves for tracking=visdom"),
    "doctor": ("experiments.commands.doctor", PARSER, "check this installation and this machine"),
    "completion": ("experiments.commands.completion", PARSER, "print a script for tab completion"),
}
EXAMPLES = ("voxnas search experiment=demo", "voxnas train arch=outputs/demo/arch.json experiment=demo")


def main() -> None:
    """Run the command that `sys.argv` names and exit with its code."""
    name, *words = sys.argv[1:] or ["--help"]
    if name not in ("-h", "--help"):
        from experiments.cli import use_utf8

        use_utf8()
        sys.exit(run(name, words))
    try:
        print(help_page(), flush=True)
    except BrokenPipeError:
        from experiments.cli import drop_stdout

        drop_stdout()


def help_page() -> str:
    """Return the list of commands.

    Returns:
        The page.
    """
    lines = ["usage: voxnas COMMAND [ARGUMENT ...]", "", "commands:"]
    lines += [f"  {name:<11} {summary}" for name, (_, _, summary) in COMMANDS.items()]
    lines += ["", "`voxnas COMMAND --help` lists the arguments of a command.", "", "examples:"]
    return "\n".join([*lines, *(f"  {example}" for example in EXAMPLES)])


def run(name: str, words: list[str]) -> int:
    """Run one command.

    Args:
        name: A key of `COMMANDS`, or --version.
        words: Its arguments.

    Returns:
        The exit code, see `experiments.cli.run_command`.
    """
    from experiments.cli import run_command, run_parser

    if name == "--version":
        return run_command(_print_version)
    if name not in COMMANDS:
        return run_command(lambda: _refuse_command(name))
    module_name, kind, summary = COMMANDS[name]
    try:
        module = __import__(module_name, fromlist=["main"])
    except ModuleNotFoundError as error:
        missing = f"no module {error.name}"
        expected = f"the packages that `voxnas {name}` needs ({summary})"
        return run_command(lambda: _refuse(missing, expected, "pip install voxnas"))
    if kind == PARSER:
        return run_parser(module.parser(), words)
    sys.argv = [f"voxnas {name}", *words]
    module.main()
    return 0


def _print_version() -> None:
    from importlib.metadata import version

    print(version("voxnas"))


def _refuse_command(name: str) -> int:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    return _refuse(
        f"the command {name!r}", f"one of {', '.join(COMMANDS)}", f"voxnas {close[0]}" if close else "voxnas --help"
    )


def _refuse(got: str, expected: str, fix: str) -> int:
    from nas.errors import NASError

    raise NASError(got, expected, fix)


if __name__ == "__main__":
    main()
