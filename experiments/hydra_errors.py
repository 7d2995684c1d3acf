"""Errors of Hydra and OmegaConf in one line."""

from __future__ import annotations

from omegaconf.errors import MissingMandatoryValue

from nas.errors import NASError

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray", "ray_aws": "ray"}


def explain(error: BaseException) -> NASError:
    """Return the NASError for an error of Hydra.

    Args:
        error: The error.

    Returns:
        The NASError that it wraps, or one with Hydra's own message.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NASError):
            return cause
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or str(cause).rpartition(": ")[2]
            return NASError(f"no {key}", "a value", f"set {key}=...")
        cause = cause.__cause__ or cause.__context__
    message = " ".join(str(error).split()).replace("\t", " ")
    if "Available options" in message:
        problem, _, options = message.partition("Available options in ")
        group, _, names = options.partition(":")
        names = names.partition("Config search path")[0]
        launcher = problem.rpartition("hydra/launcher/")[2].strip(" '")
        if launcher in EXTRAS:
            return NASError(
                f"hydra/launcher={launcher}, which is not installed",
                f"one of: {names.strip()}",
                f"pip install 'voxnas[{EXTRAS[launcher]}]'",
            )
        group = group.strip(" '")
        name = problem.rpartition(f"{group}/")[2].strip(" '")
        return NASError(f"{group}={name}", f"one of {', '.join(names.split())}", f"choose a {group} of this list")
    return NASError(message, "a setting that the configuration has", "compare with `--cfg job` and the files in conf/")
