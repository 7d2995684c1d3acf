"""`plan=FILE` of the commands: the settings of a plan, below those that are typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nas.errors import NASError
from nas.planning.plan import Plan

SETTING = "plan"
COMMANDS = {"search": "search", "train": "train"}  # file of conf/ -> command of a plan
OF_NETWORK = ("space", "strategy", "evaluator")  # groups that a training takes from its network
SEARCH_ONLY = ("study", "objectives", "constraints", "cost", "fidelity", "warm_start", "worker")
TRAIN_ONLY = (
    *("name", "protocol", "rounds", "space_changes", "supernet", "baselines", "export", "resamples", "processes"),
)
FOREIGN = {"search": TRAIN_ONLY, "train": (*OF_NETWORK, *SEARCH_ONLY)}  # settings that belong to the other command
ADDED = ("space.prior", "space_changes.")  # settings that conf/ does not list, which Hydra adds with a plus sign
NOT_OF_PLANS = ("hydra", "plan", "experiment", "arch")


def settings_of_plan(path: object, command: str, typed: Iterable[str]) -> list[str]:
    """Return the settings of a plan that the command line leaves to it.

    Args:
        path: The value of `plan`.
        command: "search" or "train".
        typed: Keys of the settings that are typed, without Hydra's signs. A group that is typed (`space`) leaves out
            the plan's settings of that group (`space.widths`).

    Returns:
        Settings in Hydra's grammar, those of groups first.

    Raises:
        NASError: If the file is missing or is no plan, or decides what no plan may.
    """
    if not isinstance(path, str) or not path.strip():
        raise NASError(f"{SETTING}={path}", "the file of a plan", f"set {SETTING}=plan.yaml")
    keys = set(typed)
    if "experiment" in keys:
        raise NASError(
            f"experiment=... with {SETTING}={path}",
            "one of the two, as both set data, space and training",
            "leave out one of them",
        )
    if not Path(path).exists():
        raise NASError(f"{SETTING}={path}: no file {path}", "a plan", "voxnas plan FOLDER --out plan.yaml")
    plan = Plan.read(Path(path))
    found = []
    for one in plan.of(command):
        top = one.key.partition(".")[0]
        if top in NOT_OF_PLANS:
            raise NASError(f"{one.key} in {path}", "settings of data, space, task and training", "remove the line")
        if top in FOREIGN[command] or one.key in keys or _belongs_to(one.key, keys):
            continue
        found.append(f"+{one.override}" if one.key.startswith(ADDED) else one.override)
    return with_whole_objectives(found)


def _belongs_to(key: str, typed: set[str]) -> bool:
    """Whether a setting belongs to a group or a mapping that is typed as a whole."""
    parts = key.split(".")
    return any(".".join(parts[:count]) in typed for count in range(1, len(parts)))


def with_whole_objectives(arguments: list[str]) -> list[str]:
    """Let `objectives={...}` replace all objectives; Hydra would merge it with those of conf/ and the experiment.

    Args:
        arguments: Settings of a command line or of a plan.

    Returns:
        The settings, with this one deleted before it is set.
    """
    found = next((number for number, text in enumerate(arguments) if text.startswith("objectives={")), None)
    if found is None:
        return arguments
    return [*arguments[:found], "~objectives", f"+{arguments[found]}", *arguments[found + 1 :]]


def with_plan(error: NASError, path: str, settings: Sequence[str]) -> NASError:
    """Name the plan in the message for one of its settings.

    Args:
        error: The message.
        path: The plan.
        settings: The settings of the plan.

    Returns:
        A message that names the plan if the setting is one of them.
    """
    keys = [text.lstrip("+").partition("=")[0] for text in settings]
    if f" in {path}" in error.got or not error.got.lstrip("+").startswith(tuple(f"{key}=" for key in keys)):
        return error
    return NASError(f"{error.got} in {path}", error.expected, f"correct {path}: {error.fix}")
