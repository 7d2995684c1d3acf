"""Checks of the plan of `voxnas auto`, which the user may have edited or brought along."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from experiments.auto.request import Request
from experiments.conf_files import groups
from nas.errors import NASError
from nas.planning.plan import Plan, in_yaml


def require_strategy(name: str | None) -> None:
    """Check the name of a strategy before any data are read.

    Args:
        name: A file of conf/strategy; None for the default.

    Raises:
        NASError: If there is none of this name.
    """
    known = groups()["strategy"]
    if name is not None and name not in known:
        close = get_close_matches(name, known, n=1)
        raise NASError(
            f"--strategy {name}", f"one of {', '.join(known)}", f"--strategy {close[0]}" if close else "leave it out"
        )


def require_plan_of(request: Request, plan: Plan, path: Path) -> None:
    """Check that a plan is one of the data and the options of a command.

    Args:
        request: The options.
        plan: The plan.
        path: Its file.

    Raises:
        NASError: If it is of other data, of another task, has fewer patients than folds are asked for, or states the
            parts of its split where folds are asked for.
    """
    read = plan.value("data.root") or plan.value("data.path")
    if read is None or Path(str(read)).resolve() != request.data.resolve():
        raise NASError(f"{path}, the plan of {read or 'no data'}", f"a plan of {request.data}", "use another --out")
    if request.task not in (None, plan.task):
        raise NASError(f"--task {request.task} with {path}", f"its task {plan.task}", "leave out --task")
    request.folds_of(plan)
    patients = plan.fingerprint.get("patients")
    if request.folds is not None and isinstance(patients, int) and request.folds > patients:
        raise NASError(
            f"--folds {request.folds} with {patients} patients", f"at most {patients} folds", "give fewer --folds"
        )


def settings_of(plan: Plan) -> dict[str, str]:
    """Return what a plan decides, to recognise a change.

    Args:
        plan: The plan.

    Returns:
        Setting, with its command, or gene of the reference network -> value.
    """
    named = {f"{one.key} ({one.command})" if one.command else one.key: in_yaml(one.value) for one in plan.decisions}
    return named | {f"{name} (reference)": in_yaml(value) for name, value in plan.reference.items()}


def require_unchanged(plan: Plan, before: Mapping[str, str], path: Path) -> None:
    """Check that the plan of a run that is continued is the one by which its networks were trained.

    Args:
        plan: The plan.
        before: `settings_of` at the begin of the run.
        path: Its file.

    Raises:
        NASError: For the first setting that was changed, added or removed.
    """
    now = settings_of(plan)
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise NASError(
                f"{name}: {now.get(name, 'no longer there')} in {path}, by which networks were trained with "
                f"{before.get(name, 'no such setting')}",
                "the plan with which the run began",
                "copy the changed plan into another folder and use it as --out, or undo the change",
            )
