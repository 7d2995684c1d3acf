"""`voxnas completion bash`: a script for tab completion of commands, options, settings and files."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from experiments.cli import Parser
from experiments.commands.voxnas import COMMANDS, PARSER
from experiments.conf_files import groups

EXAMPLES = (
    'eval "$(voxnas completion bash)"',
    "voxnas completion bash > ~/.local/share/bash-completion/completions/voxnas",
)
HYDRA_OPTIONS = (
    "--help",
    "--cfg",
    "--resolve",
    "--multirun",
    "--config-dir",
    "--config-name",
    "--info",
    "--hydra-help",
)
# cur: the word at the cursor; key: what stands before `=` in it, which bash by default splits into words of its own
SCRIPT = """\
_voxnas_words() {{ local IFS=$'\\n'; COMPREPLY+=($(compgen -W "$1" -- "$cur")); }}
_voxnas_files() {{
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$cur"))
    compopt -o filenames 2> /dev/null
}}
_voxnas_settings() {{
    local whole=
    if [[ $cur == "=" ]]; then key=${{COMP_WORDS[COMP_CWORD-1]}} cur=
    elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == "=" ]]; then key=${{COMP_WORDS[COMP_CWORD-2]}}
    elif [[ $cur == *=* ]]; then key=${{cur%%=*}} cur=${{cur#*=}} whole=$key=
    fi
    case $key in
{groups}
    "")
        _voxnas_words {keys}
        [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace 2> /dev/null
        return
        ;;
    *) _voxnas_files ;;
    esac
    COMPREPLY=("${{COMPREPLY[@]/#/$whole}}")
}}
_voxnas() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} key=
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        _voxnas_words {commands}
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
}}
complete -F _voxnas voxnas
"""


def parser() -> Parser:
    """Return the parser of `voxnas completion`.

    Returns:
        The parser.
    """
    completion = Parser("voxnas completion", "Print a script that completes commands, options and files.", EXAMPLES)
    completion.add_argument("shell", metavar="SHELL", choices=("bash",), help="bash")
    completion.set_defaults(run=lambda options: print(bash_script(), end=""))
    return completion


def bash_script() -> str:
    """Write the script from the parsers of all commands and the groups of conf/.

    Returns:
        The script.
    """
    choices = groups()
    return SCRIPT.format(
        commands=_quoted([*COMMANDS, "--help", "--version"]),
        keys=_quoted([*(f"{group}=" for group in choices), *HYDRA_OPTIONS]),
        groups="\n".join(f"    {group}) _voxnas_words {_quoted(names)} ;;" for group, names in choices.items()),
        cases="\n".join(_case(name) for name in COMMANDS),
    )


def _case(name: str) -> str:
    module, kind, _ = COMMANDS[name]
    if kind != PARSER:
        return f"    {name}) _voxnas_settings ;;"
    command: Parser = parser() if module == __name__ else import_module(module).parser()
    if not command.commands:
        return f"    {name})\n        {_options(command)}\n        ;;"
    lines = [f"    {name})", "        if (( COMP_CWORD == 2 )); then"]
    lines += [f"            _voxnas_words {_quoted([*command.commands, '--help'])}", "            return", "        fi"]
    lines += ["        case ${COMP_WORDS[2]} in"]
    lines += [f"        {sub}) {_options(parser_of_sub)} ;;" for sub, parser_of_sub in command.commands.items()]
    return "\n".join([*lines, "        esac", "        ;;"])


def _options(command: Parser) -> str:
    words = f"_voxnas_words {_quoted(command.flags)}"
    positional = command.choices_of_arguments
    files = f"_voxnas_words {_quoted(positional)}" if positional else "_voxnas_files"
    return f"if [[ $cur == -* ]]; then {words}; else {files}; fi"


def _quoted(words: Iterable[str]) -> str:
    return "$'" + "\\n".join(words) + "'"
