"""Which networks of a training a prediction uses: the ensemble of all, or one by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.artifact import load
from nas.bundle import ARCH, Bundle, bundles_of
from nas.errors import NASError
from nas.inference.model_spec import BUNDLES, MODEL_JSON, RESULT
from nas.utils.files import read_json

ENSEMBLE = "ensemble"


def chosen_bundles(training: str | Path, network: str | None = None, trusted: Sequence[str] = ()) -> list[Bundle]:
    """Read the bundles of the networks that a prediction uses.

    Args:
        training: Folder of run_train.py, or of one bundle.
        network: Name or id of a network of the training, or "ensemble" for all of them. If None, the system that
            result.json states as the answer: the ensemble, if several networks were trained.
        trusted: Further packages whose search spaces and tasks may be imported.

    Returns:
        At least one bundle; of each network the best validation score first.

    Raises:
        NASError: If there is no such network, no finished training, or a bundle is damaged.
    """
    training = Path(training)
    if (training / MODEL_JSON).is_file():
        bundles = bundles_of(training, trusted=trusted)
        if network not in (None, ENSEMBLE, bundles[0].artifact.name, bundles[0].artifact.arch.id):
            raise _unknown(network, training, [bundles[0].artifact.name])
        return bundles
    if network is None and not _is_ensemble(training):
        return bundles_of(training, trusted=trusted)
    ids = networks_of_training(training, trusted)
    if network in (None, ENSEMBLE):
        wanted = list(ids.values())
    elif network in ids or network in ids.values():
        wanted = [ids.get(str(network), str(network))]
    else:
        raise _unknown(network, training, list(ids))
    return [bundle for arch in wanted for bundle in bundles_of(training, arch=arch, trusted=trusted)]


def networks_of_training(training: Path, trusted: Sequence[str] = ()) -> dict[str, str]:
    """List the networks that a training is about, without those that it compares with.

    Args:
        training: Folder of run_train.py.
        trusted: Further packages whose search spaces and tasks may be imported.

    Returns:
        Name in the tables -> id of the architecture, in the order of result.json.

    Raises:
        NASError: If there is no finished training, or an arch.json is damaged.
    """
    (first, *_) = bundles_of(training, best=1, trusted=trusted)
    ids = {first.artifact.name: first.artifact.arch.id}  # an earlier training may have left another one of its name
    for path in sorted((training / BUNDLES).glob(f"*/*/{ARCH}")):
        if path.parts[-3] not in ids.values():
            ids.setdefault(load(path, trusted).name, path.parts[-3])
    systems = [name for name in _result(training).get("ensembles", {}) if name in ids]
    return {name: ids[name] for name in systems} or {first.artifact.name: first.artifact.arch.id}


def _is_ensemble(training: Path) -> bool:
    """Whether the answer of result.json is an ensemble of several networks."""
    result = _result(training)
    system = result.get("headline", {}).get("system")
    return system is not None and system != result.get("name")


def _result(training: Path) -> dict[str, Any]:
    try:
        content = read_json(training / RESULT)
        headline, ensembles = content.get("headline", {}), content.get("ensembles", {})
        return {"name": content.get("name"), "headline": dict(headline), "ensembles": dict(ensembles)}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # `bundles_of` reports the reason


def _unknown(network: object, training: Path, names: Sequence[str]) -> NASError:
    expected = ", ".join([*(f"{name!r}" for name in names), ENSEMBLE])
    return NASError(
        f"--network {network} of {training}", f"one of {expected}", "leave it out for the answer of its report"
    )
