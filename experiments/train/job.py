"""The body of run_train.py: retraining, test, baselines, table, report."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.config import shareable
from experiments.context import CONFIG, describe_data, require_own_folder, require_window, task_setup, write_config
from experiments.job_folder import open_folder
from experiments.networks import resolve_all, searches_of
from experiments.plain_settings import resolved
from experiments.settings import typed_settings
from experiments.train.config import TrainConfig
from experiments.train.exports import export_rounds
from experiments.train.helpers import helpers
from experiments.train.plain_unet import verdict
from experiments.train.recipes import announcement as recipes_announced
from experiments.train.recipes import kept_recipe, over_recipes
from experiments.train.search_defaults import announcement, require_same_data, with_search_defaults
from experiments.train.systems import SystemTrainer
from experiments.train.tracked import track_test
from nas.artifact import Artifact
from nas.context import TaskSetup, versions
from nas.data.splits import Fold, Split
from nas.errors import NASError
from nas.export.onnx import require_formats
from nas.export.trained import listed
from nas.html.page import section
from nas.inference.model_spec import RESULT
from nas.provenance import SearchRecord
from nas.report import train_report
from nas.report.live_training import LiveTraining
from nas.report.train import REPORT, next_command
from nas.retraining.answer import answer
from nas.retraining.folds import OnFoldEpoch, ignore_fold
from nas.retraining.model_cards import write_model_cards
from nas.retraining.predictions import PREDICTIONS, predictions_csv
from nas.retraining.result import TrainResult
from nas.retraining.scoring import Scorer, System
from nas.retraining.subgroups import with_subgroups
from nas.retraining.summary import summarise, table_rows
from nas.retraining.tables import TABLE, caption, markdown, terminal, terminal_of
from nas.retraining.unseen import check_unseen
from nas.tracking.base import TrackedRun, Tracker
from nas.training import distributed
from nas.training.distributed import is_main
from nas.utils.files import exclusive, from_here, write_text
from nas.utils.identity import ResultIdentity
from nas.utils.text_table import terminal_width

# settings that the identity of a result holds by their content (networks, supernet, recipes), or that decide no number
UNIDENTIFYING = ("arch", "supernet", "name", "export", "processes", "over_recipe")


def run_train_experiment(
    cfg: DictConfig | Mapping[str, Any], folder: Path, on_epoch: OnFoldEpoch = ignore_fold
) -> TrainResult | None:
    """Retrain `arch` on the split's rounds, test it beside its baselines, and write the results into a folder.

    The folder holds result.json, predictions.csv, table.md, report.html, config.yaml and checkpoints/. The same command
    again resumes an interrupted training, and prints the table of a finished one.

    Args:
        cfg: The configuration as Hydra composed it; see conf/train.yaml.
        folder: The output folder.
        on_epoch: Called with fold, epoch, number of epochs and validation metrics, also in helping processes, which get
            a copy of it.

    Returns:
        The result; None in a process of torchrun that is not the first.

    Raises:
        NASError: If a setting is wrong, or a training fails.
    """
    job = checked_training(cfg)
    config, networks, rounds, known, formats = job.config, job.networks, job.rounds, job.known, job.formats
    setting = replace(job.setting, device=distributed.initialise(job.setting.device))
    try:
        trainer = SystemTrainer(config, setting, rounds, folder, recipe=job.recipe, on_epoch=on_epoch)
        trainer.check(networks)
        identity = _identity(config, setting, networks, trainer)
        if not formats and (finished := _finished_before(folder, identity, networks, trainer)) is not None:
            return finished
        require_own_folder(folder, {"name": config.name})
        _keep_result(folder, networks)
        with exclusive(folder) if is_main() else nullcontext(), closing(trainer.board):
            if not is_main():
                trainer.networks(networks)
                trainer.baselines(networks)
                return None
            open_folder(folder)
            write_config(folder / CONFIG, config.plain())
            describe_data(setting, folder)
            trainer.board.start(TrackedRun(config.name, folder, shareable(config.plain())))
            live, work = trainer.show_live(networks), partial(_share, on_epoch=on_epoch)
            with _live_page(live, folder, setting.task.spec.kind) as results, helpers(config, folder, work):
                systems, baselines = trainer.networks(networks), trainer.baselines(networks)
                known_patients, board = all(known), trainer.board
                result = _write(folder, config, setting, networks, systems, baselines, known_patients, identity, board)
                results.append(result)
            if formats:
                export_rounds(networks, rounds, folder, formats, config.allow_packages)
        return result
    finally:
        distributed.shutdown()


def train_networks(cfg: Mapping[str, Any], folder: Path, on_epoch: OnFoldEpoch = ignore_fold) -> None:
    """Train networks on the split's rounds without a result: bundles and predictions of the test part only.

    Args:
        cfg: As for `run_train_experiment`, which writes the result from what is trained here.
        folder: The output folder.
        on_epoch: As for `run_train_experiment`.

    Raises:
        NASError: If a setting is wrong, or a training fails.
    """
    job = checked_training(cfg)
    trainer = SystemTrainer(job.config, job.setting, job.rounds, folder, recipe=job.recipe, on_epoch=on_epoch)
    trainer.check(job.networks)
    with exclusive(folder), closing(trainer.board), helpers(job.config, folder, partial(_share, on_epoch=on_epoch)):
        trainer.networks(job.networks)


def _share(settings: Mapping[str, Any], folder: Path, number: int, on_epoch: OnFoldEpoch = ignore_fold) -> None:
    """Do the trainings of a folder that no other process does, as process `number`."""
    job = checked_training(settings, number)
    trainer = SystemTrainer(job.config, job.setting, job.rounds, folder, number, job.recipe, on_epoch)
    trainer.networks(job.networks)
    trainer.rivals(job.networks)


@dataclass(frozen=True)
class CheckedTraining:
    """A training whose settings fit together.

    Attributes:
        config: The settings, with those of the search of a network.
        setting: Data, split, task and device.
        networks: The networks.
        rounds: The rounds of the split.
        known: For each network, whether the patients that its search saw are known.
        formats: Formats in which the trained networks are exported.
    """

    config: TrainConfig
    setting: TaskSetup
    networks: Sequence[Artifact]
    rounds: Sequence[Fold]
    known: Sequence[bool]
    formats: Sequence[str]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Settings of the first network's recipe, by which networks that stand beside it are trained too."""
        return kept_recipe(self.networks[0], self.config.over_recipe)


def checked_training(cfg: DictConfig | Mapping[str, Any], number: int = 0) -> CheckedTraining:
    """Load the data and the networks of a training and check that they fit.

    Args:
        cfg: The configuration as Hydra composed it; see conf/train.yaml.
        number: Number of the process among those that share the trainings, which take the GPUs in turn.

    Returns:
        The training.

    Raises:
        NASError: If a setting is wrong.
    """
    plain = resolved(cfg)
    overrides: list[str] = []
    searches: list[SearchRecord] = []
    if HydraConfig.initialized():
        overrides, allow = typed_settings(HydraConfig.get()), plain.get("allow_packages") or ()
        searches = searches_of(plain.get("arch"), allow)
        plain = with_search_defaults(plain, overrides, searches, allow)
        if is_main() and (line := announcement(plain, overrides, searches)) is not None:
            print(textwrap.fill(line, terminal_width(), subsequent_indent="  "))
    config = TrainConfig.of(plain)
    setting = task_setup(config, number)
    require_same_data(setting.store.name, overrides, searches)
    networks = resolve_all(config.arch, setting.task.spec, config.allow_packages, config.space_changes)
    config = replace(config, over_recipe=over_recipes(overrides, networks) or config.over_recipe)
    if is_main() and not number:
        for line in recipes_announced(networks, config.over_recipe):
            print(textwrap.fill(line, terminal_width(), subsequent_indent="  "))
    if formats := listed(config.export):
        require_formats(formats)
    rounds = rounds_of(config, setting.split)
    known = [_untouched_test(network, setting, config.protocol, rounds) for network in networks]
    for network in networks:
        require_window(setting.task, setting.store.shape[0], network.space, network.arch)
    return CheckedTraining(config, setting, networks, rounds, known, formats)


@contextmanager
def _live_page(live: LiveTraining, folder: Path, kind: str) -> Iterator[list[TrainResult]]:
    """Write the last version of the live page: the answer of the result that the block appends, or that it stopped."""
    results: list[TrainResult] = []
    try:
        yield results
    finally:
        if results:
            live.finish(f"{answer(results[0])} The whole result is in report.html.", next_command(kind, folder))
        else:
            live.finish("The training was stopped before its end; the same command continues it.", "")


def rounds_of(config: TrainConfig, split: Split) -> list[Fold]:
    """Return the rounds of a training: which samples each of its networks is trained, validated and tested on.

    Args:
        config: Its settings, of which `protocol` and `rounds` count.
        split: Its split.

    Returns:
        The rounds.

    Raises:
        NASError: If the settings or the split allow no such rounds.
    """
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


def _keep_result(folder: Path, networks: Sequence[Artifact]) -> None:
    """Refuse to write over the result of another network."""
    if not (folder / RESULT).is_file():
        return
    found = TrainResult.load(folder / RESULT).arch_id
    if found not in {network.arch.id for network in networks}:
        raise NASError(
            f"{folder}, which holds the result of {found}",
            f"a folder of its own for {networks[0].arch.id}",
            "set name to another name, or remove the folder",
        )


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
    print(f"{textwrap.fill(answer(result), terminal_width())}\n")
    print(terminal_of((folder / TABLE).read_text(encoding="utf-8")))
    print(f"\nfinished before; see {folder / REPORT}")
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
    board: Tracker,
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
    searched = "the searched network" if networks[0].provenance.search else main.name
    beside = verdict(result, searched if len(networks) == 1 else systems[0].name)
    result.save(folder / RESULT)
    text = with_subgroups(markdown(rows, caption(result), result.columns, result.lines), result)
    write_text(folder / TABLE, text + (f"\n{beside}\n" * bool(beside)))
    write_text(folder / PREDICTIONS, predictions_csv(scorer, everything))
    write_model_cards(folder, result, everything, setting.store)
    cases = scorer.cases(systems[0], everything[1:])
    train_report(
        folder / REPORT,
        title=f"Training {config.name}",
        space=networks[0].space,
        arch=networks[0].arch,
        result=result.to_json(),
        table_rows=[row.cells(result.columns) for row in rows],
        metrics=result.metrics,
        sections=[section("Beside plain U-Nets", beside)] * bool(beside) + scorer.task_of(main).sections(cases),
        task=setting.task.spec,
        answer=answer(result),
        command=next_command(setting.task.spec.kind, folder),
    )
    shown = terminal(rows, caption(result), result.columns, lines=result.lines)
    shown = terminal_of(text) if result.subgroups else shown
    track_test(board, result, cases, setting.task.spec.kind, shown)
    print(f"{textwrap.fill(answer(result), terminal_width())}\n")
    print(shown)
    if beside:
        print(f"\n{textwrap.fill(beside, terminal_width())}")
    print(f"\nwrote {from_here(folder / TABLE)} and {from_here(folder / REPORT)}")
    print(f"next: {next_command(setting.task.spec.kind, folder)}")
    return result
