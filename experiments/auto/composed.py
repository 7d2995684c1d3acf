"""Configurations of searches and trainings from a plan and the settings of a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from experiments.hydra_errors import explain
from experiments.plain_settings import resolved
from experiments.plan_settings import settings_of_plan, with_plan
from experiments.search.check import check_search
from experiments.sweep import register_resolvers
from experiments.train.check import check_train
from nas.errors import NASError

CHECKS = {"search": check_search, "train": check_train}


def composed(command: str, plan: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Compose the configuration of a search or a training, as the commands do, and check it.

    Args:
        command: "search" or "train".
        plan: The plan.
        settings: Settings in Hydra's grammar that replace those of the plan.

    Returns:
        The configuration as plain values.

    Raises:
        NASError: If a setting is wrong.
    """
    typed = [text.lstrip("+~").partition("=")[0] for text in settings]
    planned = settings_of_plan(str(plan), command, typed)
    register_resolvers()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("conf", version_base="1.3"):
            plain = resolved(compose(command, overrides=[*planned, *settings]))
        CHECKS[command](plain, settings)
        return plain
    except (HydraException, OmegaConfBaseException) as error:
        raise with_plan(explain(error, [], [*settings, *planned]), str(plan), planned) from error
    except NASError as error:
        raise with_plan(error, str(plan), planned) from error
    finally:
        GlobalHydra.instance().hydra = before
