"""Bodies of `voxnas study list|show|pareto|export|resume|delete`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.cli import has_width, write_line
from nas.errors import NASError
from nas.history import History, State, Trial
from nas.study.lease import GIVEN_BACK, Attempt
from nas.study.leftovers import leftovers, remove
from nas.study.probe import name_in, study_of_store
from nas.study.reader import StudyReader
from nas.study.storage import Store
from nas.study.url import CONFIG, database_path, store_url
from nas.utils.named import require_plain
from nas.utils.process import host_id, is_dead
from nas.utils.text_table import in_columns, terminal_width

MOST_SHOWN = 20  # running trials, and failures


def list_studies(options: argparse.Namespace) -> None:
    """List the studies of a store.

    Args:
        options: Parsed arguments.
    """
    url = store_url(options.store)
    store = Store(url, read_only=True)
    names = store.names()
    store.close()
    rows = [
        ("study", "complete", "failed", "running", "asked for", "confirmation", "state"),
        *(_row(url, name) for name in names),
    ]
    _table(rows)


def _row(url: str, name: str) -> tuple[str, ...]:
    try:
        study = StudyReader.open(url, name)
    except NASError as error:
        return (name, *"-----", f"cannot be read: {error.got}")
    history, asked = study.history(), _asked_for(study)
    counts, live = Counter(record.state for record in history.searched), _living(study)
    study.close()
    ended = counts[State.COMPLETE] + counts[State.FAILED]
    state = f"{live} at work" if live else "finished" if asked and ended >= asked else "stopped"
    numbers = (str(counts[state]) for state in (State.COMPLETE, State.FAILED, State.RUNNING))
    return (name, *numbers, str(asked or "-"), str(len(history.confirmed) or "-"), state)


def show_study(options: argparse.Namespace) -> None:
    """Show the settings of a study, its best trial and its workers.

    Args:
        options: Parsed arguments.
    """
    study = opened_study(options)
    history, attempts = study.history(), study.attempts()
    counts = Counter(record.state for record in history.searched)
    lines = [("study", study.name), ("store", study.url)]
    lines += [("objectives", ", ".join(f"{way} {name}" for name, way in study.objectives.items()))]
    lines += [("constraints", ", ".join(study.spec.get("constraints", ())) or "none")]
    lines += [(key, _text(value)) for key, value in study.spec.items() if key not in ("objectives", "constraints")]
    trials = ", ".join(f"{counts[state]} {state.value}" for state in State)
    again = f" and {len(history.confirmed)} of the confirmation" if len(history.confirmed) else ""
    lines += [("trials", f"{trials}, of {_asked_for(study) or 'an unknown number'} asked for{again}")]
    if history.complete():
        lines += [("best", _metrics(history, history.front()[0]))]
    _table(lines)
    running = [(record, attempts.get(record.number)) for record in history if record.state is State.RUNNING]
    if running:
        write_line("\nrunning:")
        _table([_running_row(record, attempt) for record, attempt in running[:MOST_SHOWN]])
        _rest(len(running))
    failed = [record for record in history if record.state is State.FAILED]
    if failed:
        write_line("\nfailed:")
        _table([(f"trial {record.number}", record.arch.id, record.reason) for record in failed[-MOST_SHOWN:]])
        _rest(len(failed))
    study.close()


def _running_row(record: Trial, attempt: Attempt | None) -> tuple[str, ...]:
    if attempt is None:  # it ended between two looks
        return (f"trial {record.number}", record.arch.id)
    host = str(attempt.owner["place"]).partition("/")[0]
    seen = max(record.started, attempt.seen)
    words = "given back" if attempt.beat == GIVEN_BACK else f"last sign of life {_ago(time.time() - seen)} ago"
    if is_dead(attempt.owner) and attempt.beat != GIVEN_BACK:
        words += ", its process has ended"
    where = f"worker {record.worker} (process {attempt.owner['pid']} on {host})"
    return (f"trial {record.number}", record.arch.id, where, f"epoch {attempt.epoch}", words)


def pareto_study(options: argparse.Namespace) -> None:
    """List the Pareto front.

    Args:
        options: Parsed arguments.
    """
    study = opened_study(options)
    history = study.history()
    front = history.front() if history.complete() else ()
    rows = [("trial", "architecture", "budget", *study.objectives)]
    for record in front:
        values = (_value(history, record, name) for name in study.objectives)
        rows.append((str(record.number), record.arch.id, str(record.budget), *values))
    _table(rows)
    broken = history.violations(front)
    if front and broken.max() > 0:
        write_line(f"(no network keeps the constraints {', '.join(study.spec['constraints'])}: these come closest)")
    study.close()


def export_study(options: argparse.Namespace) -> None:
    """Write all trials as CSV or HDF5.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If the file has another ending or cannot be written.
    """
    from nas.trials_csv import write_csv
    from nas.trials_table import TrialsTable, write_h5

    out = Path(options.out)
    if out.suffix not in (".csv", ".h5", ".hdf5"):
        raise NASError(f"--out {out}", "a file that ends in .csv or .h5", "name the format by the ending")
    study = opened_study(options)
    records = study.records()
    try:
        if out.suffix == ".csv":
            write_csv(out, records, study.history())
        else:
            write_h5(out, TrialsTable.of(records, study.space_facts, study.objectives, study.spec))
    except OSError as error:
        raise NASError(
            f"--out {out} ({error.strerror})", "a file that can be written", "choose another place"
        ) from error
    study.close()
    write_line(f"wrote {len(records)} trials to {out}")


def resume_study(options: argparse.Namespace) -> int:
    """Continue a search with its recorded configuration, in this process.

    Args:
        options: Parsed arguments.

    Returns:
        Exit code 0.

    Raises:
        NASError: If the study records no configuration, or has more trials than asked for.
    """
    study = opened_study(options)
    recorded, asked, url = study.config, _asked_for(study), study.url
    study.close()
    if not asked or "folder" not in recorded:
        raise NASError(
            "a study without a recorded configuration",
            "one that `voxnas search` created",
            "continue it from the program that created it",
        )
    trials = options.trials or asked
    if trials < asked:
        raise NASError(f"--trials {trials}", f"at least {asked}, the number asked for before", "leave --trials out")
    from experiments.config import SearchConfig  # here, as they take long to import
    from experiments.search.job import search_command

    require_plain(recorded, "the recorded configuration")
    try:
        folder, cwd = _output_folder(url, Path(recorded["folder"]), options.out), Path(recorded["cwd"])
    except (KeyError, TypeError) as error:
        raise NASError(
            f"a recorded configuration without {error}", "one that `voxnas search` recorded", "start another study"
        ) from error
    config = SearchConfig.of({**recorded, "study": {**recorded["study"], "url": url, "trials": trials}})
    write_line(f"resuming {study.name} to {trials} trials, into {folder}")
    if cwd.is_dir():
        os.chdir(cwd)  # relative paths of the configuration
    # packages that the study itself allows do not count: it may be from elsewhere
    config = replace(config, worker=options.worker, allow_packages=tuple(options.allow_package))
    search_command(config, folder, of_file=True)
    return 0


def _output_folder(url: str, recorded: Path, given: Path | None) -> Path:
    """Return the output folder: the given one, that of the SQLite file, or the recorded one if a search wrote it."""
    path = database_path(url)
    if given is not None or path is not None:
        return given or path.resolve().parent  # type: ignore[union-attr]
    if not (recorded / CONFIG).is_file():  # the store may be from elsewhere and name any folder
        raise NASError(
            f"the recorded folder {recorded}, in which no search has written",
            f"a folder with a {CONFIG}",
            "add --out FOLDER",
        )
    return recorded


def delete_study(options: argparse.Namespace) -> None:
    """Delete a study from its store, and on demand what its search has written into the output folder.

    Args:
        options: Parsed arguments.

    Raises:
        NASError: If workers may be alive, or the confirmation is not the study's name.
    """
    url = store_url(options.store)
    store = Store(url)
    name = name_in(store, options.study)
    store.attach(name)
    live = 0 if options.force else _workers_in(url, name)
    if live:
        raise NASError(
            f"{live} workers on {name!r} that may be alive", "none", "stop them first; add --force if they are gone"
        )
    if not options.yes:
        write_line(f"type the name of the study to delete it and all its trials from {url}:")
        typed = sys.stdin.readline().strip()
        if typed != name:
            raise NASError(f"the name {typed!r}", repr(name), "type the exact name, or add --yes; nothing was deleted")
    recorded = store.attrs().get(CONFIG)
    store.delete()
    empty = not store.names()
    store.close()
    write_line(f"deleted {name} from {url}")
    folders, path = set(), database_path(url)
    if path is not None:
        folders.add(path.resolve().parent)
    if isinstance(recorded, dict) and (known := Path(str(recorded.get("folder", "")))).joinpath(CONFIG).is_file():
        folders.add(known)
    for folder in sorted(folders):
        _delete_files(folder, name, url if empty else None, options)


def _delete_files(folder: Path, name: str, url: str | None, options: argparse.Namespace) -> None:
    """Remove the files of a deleted study, with its empty database at `url`, if the user wants it."""
    files = leftovers(folder, name)
    if not files:
        return
    wanted = options.files
    if not wanted and not options.yes:
        write_line(f"remove its checkpoints and results in {folder} as well? [y/N]")
        wanted = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not wanted:
        write_line(f"kept its checkpoints and results in {folder}, which a search with other settings refuses")
        return
    database = None if url is None else database_path(url)
    remove([*files, *([database] if database is not None and database.parent == folder else [])])
    write_line(f"removed its checkpoints and results in {folder}")


def _workers_in(url: str, name: str) -> int:
    """Count workers that may be alive; 0 for a study that cannot be read."""
    try:
        study = StudyReader.open(url, name)
    except NASError:
        return 0
    live = _living(study)
    study.close()
    return live


def opened_study(options: argparse.Namespace) -> StudyReader:
    """Open the study that a command names.

    Args:
        options: Parsed arguments, with `store` and `study`.

    Returns:
        The study, for reading.

    Raises:
        NASError: If the store has no such study.
    """
    return study_of_store(options.store, options.study)


def _asked_for(study: StudyReader) -> int:
    """Return the number of trials that the configuration asks for; 0 if none is recorded."""
    settings = study.config.get("study", {})
    trials = settings.get("trials", 0) if isinstance(settings, dict) else 0
    return trials if isinstance(trials, int) and 0 <= trials < 10**12 else 0


def _living(study: StudyReader) -> int:
    """Count running trials whose worker may be alive.

    Workers of this machine are looked up among its processes; those of others count unless they gave the trial back.
    """
    kept = [one for one in study.attempts().values() if one.beat != GIVEN_BACK]
    return sum(not is_dead(one.owner) if one.owner["place"] == host_id() else True for one in kept)


def _metrics(history: History, record: Trial) -> str:
    values = "  ".join(f"{name} {_value(history, record, name)}" for name in history.objectives)
    return f"trial {record.number}, {record.arch.id}: {values}"


def _value(history: History, record: Trial, name: str) -> str:
    """Mean of a metric over replicates, with its standard error if it has one."""
    over = history.statistic(record, name)
    return f"{over.mean:.6g}" + (f" ± {over.standard_error:.2g} (n={over.count})" if over.standard_error > 0 else "")


def _text(value: Any) -> str:
    return ", ".join(f"{key}={item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _rest(count: int) -> None:
    if count > MOST_SHOWN:
        write_line(f"... and {count - MOST_SHOWN} more")


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows in columns, wrapped on a terminal that is narrower."""
    for line in in_columns(rows, terminal_width() if has_width() else None):
        write_line(line)
