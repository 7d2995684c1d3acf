"""Start of the commands that Hydra configures; their help page needs no Hydra."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli import run_command, use_utf8
from experiments.conf_files import groups, text_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

OPTIONS = (
    ("--cfg job", "print the composed configuration and exit"),
    ("-m, --multirun", "run every combination of values such as seed=0,1,2"),
    ("--config-dir DIR", "also search DIR for configuration files"),
    ("--hydra-help", "options of Hydra"),
    ("-h, --help", "this page"),
)


def run_hydra_command(
    job: Callable[[DictConfig], None],
    config_name: str,
    summary: str,
    examples: Sequence[str],
    preview: str | None = None,
) -> None:
    """Run a command whose arguments, in `sys.argv`, are settings of Hydra, and exit.

    Args:
        job: Takes the composed configuration; a function of an importable module.
        config_name: A file of conf/, without `.yaml`.
        summary: One sentence for the help page.
        examples: Arguments of two or more examples for the help page.
        preview: `module:function` that checks a job of `dry_run=true`, see `experiments.hydra_main.run_hydra`.
    """
    use_utf8()
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(run_command(lambda: print(help_page(_program(), summary, config_name, examples))))
    from experiments.hydra_main import run_hydra

    run_hydra(job, config_name, preview)


def help_page(program: str, summary: str, config_name: str, examples: Sequence[str]) -> str:
    """Write the help page of a command.

    Args:
        program: The command on the command line.
        summary: One sentence.
        config_name: Its file in conf/, without `.yaml`.
        examples: Arguments of two or more examples.

    Returns:
        Usage, examples, options, the groups of conf/ with their defaults, and the settings of the file.
    """
    own = text_of(f"{config_name}.yaml")
    chosen = dict(re.findall(r"^  - (?:override )?(\w+): (\w+)", text_of("common.yaml") + own, re.MULTILINE))
    lines = [f"usage: {program} [OPTION ...] [GROUP=NAME ...] [KEY=VALUE ...]", "", summary, "", "examples:"]
    lines += [f"  {program} {example}" for example in examples]
    lines += ["", "options:", *(f"  {name:<17} {text}" for name, text in OPTIONS)]
    if "- common" in own:
        lines += ["", "groups (conf/GROUP/NAME.yaml):"]
        for group, names in groups().items():
            default = chosen.get(group, "null")
            lines.append(f"  {group:<10} {', '.join(names)}{'' if default == 'null' else f' (default: {default})'}")
    settings = own.partition("\nhydra:")[0].partition("\n\n")[2].strip()  # after the list of defaults
    return "\n".join(
        [*lines, "", "settings (more: --cfg job):", *(f"  {line}".rstrip() for line in settings.splitlines())]
    )


def _program() -> str:
    """Return the command as the user typed it."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return f"python -m experiments.{path.parent.name}"
    return f"python {path.name}" if path.suffix == ".py" else sys.argv[0]
