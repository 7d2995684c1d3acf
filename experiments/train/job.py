"""The body of run_train.py: retraining, test, baselines, table, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.config import resolved, shareable
from experiments.context import require_window, task_setup, write_config
from experiments.networks import resolve_all, searches_of
from experiments.train.config import TrainConfig
from experiments.train.exports import export_rounds
from experiments.train.search_defaults import announcement, require_same_data, with_search_defaults
from experiments.train.systems import SystemTrainer
from nas.artifact import Artifact
from nas.bundle import RESULT
from nas.context import TaskSetup, versions
from nas.data.splits import Fold, Split
from nas.errors import NASError
from nas.export.onnx import require_formats
from nas.export.trained import listed
from nas.provenance import SearchRecord
from nas.report import train_report
from nas.retraining.predictions import PREDICTIONS, predictions_csv
from nas.retraining.result import TrainResult
from nas.retraining.scoring import Scorer, System
from nas.retraining.summary import summarise, table_rows
from nas.retraining.tables import TABLE, caption, markdown, terminal
from nas.retraining.unseen import check_unseen
from nas.training import distributed
from nas.training.distributed import is_main
from nas.utils.files import exclusive, write_text
from nas.utils.identity import ResultIdentity

REPORT = "report.html"
# settings that the identity of a result holds by their content (networks, supernet), or that decide no number
UNIDENTIFYING = ("arch", "supernet", "name", "export")


def run_train_experiment(cfg: DictConfig | Mapping[str, Any], folder: Path) -> TrainResult | None:
    """Retrain `arch` on the split's rounds, test it beside its baselines, and write the results into a folder.

    The folder holds result.json, predictions.csv, table.md, report.html, config.yaml and checkpoints/. The same command
    again resumes an interrupted training, and prints the table of a finished one.

    Args:
        cfg: The configuration as Hydra composed it; see conf/train.yaml.
        folder: The output folder.

    Returns:
        The result; None in a process of torchrun that is not the first.

    Raises:
        NASError: If a setting is wrong, or a training fails.
    """
    plain = resolved(cfg)
    overrides: list[str] = []
    searches: list[SearchRecord] = []
    if HydraConfig.initialized():
        overrides, allow = list(HydraConfig.get().overrides.task), plain.get("allow_packages") or ()
        searches = searches_of(plain.get("arch"), allow)
        plain = with_search_defaults(plain, overrides, searches, allow)
        if is_main() and (line := announcement(plain, overrides, searches)) is not None:
            print(line)
    config = TrainConfig.of(plain)
    setting = task_setup(config)
    require_same_data(setting.store.name, overrides, searches)
    networks = resolve_all(config.arch, setting.task.spec, config.allow_packages, config.space_changes)
    if formats := listed(config.export):
        require_formats(formats)
    rounds = _rounds(config, setting.split)
    known = [_untouched_test(network, setting, config.protocol, rounds) for network in networks]
    for network in networks:
        require_window(setting.task, setting.store.shape[0], network.space, network.arch)
    setting = replace(setting, device=distributed.initialise(setting.device))
    try:
        trainer = SystemTrainer(config, setting, rounds, folder)
        trainer.check(networks)
        identity = _identity(config, setting, networks, trainer)
        if not formats and (finished := _finished_before(folder, identity, networks, trainer)) is not None:
            return finished
        with exclusive(folder) if is_main() else nullcontext():
            if is_main():
                write_config(folder / "config.yaml", config.plain())
            systems, baselines = trainer.networks(networks), trainer.baselines(networks)
            trainer.board.close()
            if not is_main():
                return None
            result = _write(folder, config, setting, networks, systems, baselines, all(known), identity)
            if formats:
                export_rounds(networks, rounds, folder, formats, config.allow_packages)
        return result
    finally:
        distributed.shutdown()


def _rounds(config: TrainConfig, split: Split) -> list[Fold]:
    holdout = config.protocol == "holdout"
    rounds = split.holdout_rounds() if holdout else split.cross_validation_rounds()
    if config.rounds is None:
        return rounds
    if not holdout or not 1 <= config.rounds <= len(rounds):
        raise NASError(
            f"rounds={config.rounds} with protocol={config.protocol}",
            f"1 to {len(rounds)} rounds of protocol=holdout, or null",
            "set rounds=null",
        )
    return rounds[: config.rounds]


def _untouched_test(network: Artifact, setting: TaskSetup, protocol: str, rounds: Sequence[Fold]) -> bool:
    """Check that a searched network is tested on patients that its search never saw; False if these are unknown."""
    if network.provenance.search is not None and not setting.split.overfit and protocol != "holdout":
        raise NASError(
            f"protocol={protocol} for a network whose search saw all folds but one",
            "protocol=holdout",
            "leave out protocol=..., or search anew for each test fold (split.test_fold)",
        )
    return check_unseen(network, setting.split, rounds)


def _identity(config: TrainConfig, setting: TaskSetup, networks: Sequence[Artifact], trainer: SystemTrainer) -> str:
    """Hash everything that decides the result: `arch` and `supernet` by their content, not by their paths."""
    settings = {key: value for key, value in shareable(config.plain()).items() if key not in UNIDENTIFYING}
    return ResultIdentity(
        trainings=trainer.fingerprints(networks),
        networks=[network.provenance for network in networks],
        settings={**settings, "device": str(setting.device)},
        data=setting.store.sha256,
        split=setting.split.sha256,
        versions=versions(),
    ).digest()


def _finished_before(
    folder: Path, identity: str, networks: Sequence[Artifact], trainer: SystemTrainer
) -> TrainResult | None:
    """Return the result of the same training if its folder is whole, and print its table."""
    written = [folder / name for name in (RESULT, TABLE, PREDICTIONS, REPORT)]
    if distributed.world() > 1 or not all(path.is_file() for path in written):
        return None
    result = TrainResult.load(folder / RESULT)
    if result.identity != identity or not trainer.is_finished(networks):
        return None
    print((folder / TABLE).read_text(encoding="utf-8"))
    print(f"finished before; see {folder / REPORT}")
    return result


def _write(
    folder: Path,
    config: TrainConfig,
    setting: TaskSetup,
    networks: Sequence[Artifact],
    systems: Sequence[System],
    baselines: Sequence[System],
    search_patients_known: bool,
    identity: str,
) -> TrainResult:
    """Measure all systems and write the results; the ensemble, if there is one, comes before the networks."""
    main, everything = systems[-len(networks)], [*systems, *baselines]
    scorer = Scorer(setting.store, setting.task, main.indices, config.resamples, config.seed)
    result = summarise(
        scorer,
        main,
        systems,
        baselines,
        setting,
        arch_id=networks[0].arch.id,
        protocol=config.protocol,
        seed=config.seed,
        search_patients_known=search_patients_known,
        identity=identity,
    )
    rows = table_rows(result, main, everything)
    result.save(folder / RESULT)
    write_text(folder / TABLE, markdown(rows, caption(result), result.columns))
    write_text(folder / PREDICTIONS, predictions_csv(scorer, everything))
    train_report(
        folder / REPORT,
        title=f"Training {config.name}",
        space=networks[0].space,
        arch=networks[0].arch,
        result=result.to_json(),
        table_rows=[row.cells(result.columns) for row in rows],
        metrics=result.metrics,
        sections=setting.task.sections(scorer.cases(main, [one for one in everything if one is not main])),
    )
    print(terminal(rows, caption(result), result.columns))
    print(f"\nwrote {folder / TABLE} and {folder / REPORT}")
    return result
