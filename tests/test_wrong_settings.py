"""D1 to D7: wrong values of every setting are refused in one line, before anything starts or is written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import run_search
import run_train
from experiments.conf_files import text_of
from experiments.hydra_errors import explain, unknown_setting
from experiments.tables.spec import parse
from nas.errors import NASError
from tests.commands import Command, refused, voxnas
from tests.conftest import REPO
from tests.wrong_settings import NEVER, WRONG, Key, is_sensible, keys, refusal

EVERY = keys()
FILES = sorted({key.file for key in EVERY})
PROGRAMS = {
    "search": ("run_search.py",),
    "train": ("run_train.py",),
    "brain_tumor": ("-m", "experiments.brain_tumor", "predict"),
}
MAINS = {"search": run_search.main, "train": run_train.main}
COMMANDS, SECONDS = 40, 10.0
LONG = "a" * 300


@pytest.mark.parametrize("file", FILES)
def test_D_every_key_of_conf_takes_no_wrong_value(file: str) -> None:
    for key in (key for key in EVERY if key.file == file):
        for name, (value, _) in WRONG.items():
            message = refusal(key, value)
            if message is None:
                assert name not in NEVER, f"{key.name}={value}"
                assert is_sensible(key, name), f"{key.name}={value}"
                continue
            got = message.partition("; expected")[0]
            # an entry of a recipe is refused as a whole: its choices, prior and conditions belong together
            named = key.name.split(".")[1:] if key.file.startswith("recipe/") else [key.name]
            # null removes an objective; that of the last one is refused as an empty mapping
            named += ["objectives={}"] if key.name.startswith("objectives.") and value is None else []
            assert any(part in got for part in named), message
            assert message.startswith("got "), message
            assert len(message) < 600


def chosen() -> list[tuple[Key, str]]:
    """40 refused values, spread over files and kinds of values."""
    found = []
    kinds = list(WRONG)
    settings = [key for key in EVERY if not key.name.endswith("_target_")]
    files = sorted({key.file for key in settings})
    for number in range(COMMANDS):
        file = files[number * len(files) // COMMANDS]
        of_file = [key for key in settings if key.file == file]
        for step in range(len(kinds)):
            key, name = of_file[number % len(of_file)], kinds[(number + step) % len(kinds)]
            if refusal(key, WRONG[name][0]) is not None:
                found.append((key, name))
                break
    return found


@pytest.mark.slow
def test_D_wrong_values_as_commands(command: Command) -> None:
    """Exit 2, one line on standard error and nothing else, nothing created; every tenth starts Python anew."""
    pairs = chosen()
    assert len(pairs) == COMMANDS
    for number, (key, name) in enumerate(pairs):
        words = [*key.words, f"{key.name}={WRONG[name][1]}"]
        began = time.monotonic()
        if number % 10 and key.command in MAINS:
            answer = command(MAINS[key.command], *words)
        else:
            done = started_anew(command.folder, *PROGRAMS[key.command], *words)
            answer = done.returncode, done.stdout, done.stderr
        assert time.monotonic() - began < SECONDS * 6  # of a machine that does other things too
        refused_alone(command, answer, key.name.partition(".")[0])


def started_anew(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python WORDS…` as a user starts it."""
    script = [] if words[0] == "-m" else [str(REPO / words[0])]
    return subprocess.run(
        [sys.executable, *script, *words[len(script) :]],
        cwd=folder, capture_output=True, text=True, timeout=120, env=environment(),
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, tmp_path / "cache", monkeypatch, capsys)


def refused_alone(command: Command, answer: tuple[int, str, str], text: str) -> None:
    """Exit 2, one line on standard error that holds a text, nothing printed, nothing made."""
    refused(answer, text)
    assert answer[1] == ""
    assert answer[2].count("\n") == 1
    assert list(command.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("device=null", "got device=null; expected a text"),
        ("data.size=16.5", "got data.size=16.5; expected a whole number from 1 to 4096"),
        ("objectives=auc", "got objectives=auc; expected a mapping"),
        ("objectives.score=up", "got objectives.score=up; expected maximize or minimize"),
        ("constraints=null", "got constraints=null; expected a list"),
        ("space=null", "got space=null; expected one of cascade, "),
        ("study=5", "got study=5; expected one of default"),
        ("tracking=null", "got tracking=null; expected one of mlflow, none"),
        ("space.widths=[4.5,8]", "got space.widths=[4.5, 8]; expected increasing whole numbers"),
        ("hydra.run.dir=/proc/x", "got hydra.run.dir=/proc/x (a folder of the system)"),
        ("hydra.run.dir=", "got hydra.run.dir=; expected the path of a folder"),
        ("=5", "got =5; expected KEY=VALUE"),
    ],
)
def test_D1_wrong_types_end_in_one_line(command: Command, word: str, text: str) -> None:
    refused_alone(command, command(run_search.main, word), text)


@pytest.mark.parametrize("word", ["export=5", "export=onxx", "resamples=1.5", "rounds=0", "baselines.volume=5"])
def test_D1_wrong_types_of_a_training(command: Command, word: str) -> None:
    refused_alone(command, command(run_train.main, "arch=naslung/model-1", word), f"got {word}; expected ")


@pytest.mark.parametrize("word", ["split.seed=x", "split.seed=-1", "split.seed=1.5"])
def test_D6_advice_on_the_seed_of_a_split_is_about_the_seed(command: Command, word: str) -> None:
    code, out, err = command(run_search.main, word)
    refused_alone(command, (code, out, err), f"got {word}; expected a whole number from 0 to ")
    assert "fold" not in err


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("training.epochs=x", "expected a whole number of at least 1; fix: set training.epochs to 1 or more"),
        ("split.seed=x", "expected a whole number from 0 to 4294967295; fix: set split.seed to such a value"),
        ("training.optimizer=adamv", "fix: set training.optimizer to adam"),
        ("space=naslng", "fix: write space=naslung"),
        ("trainig.epochs=5", "fix: write training.epochs=5"),
        ("epochs=5", "fix: write training.epochs=5"),
        ("training.epoch=5", "fix: write training.epochs=5"),
        ("+new=5", "expected one of "),
        ("training.epochs", "expected KEY=VALUE in the grammar of Hydra; fix: write training.epochs=..."),
        ("seed=1,2", "fix: add -m, or write seed=[1,2]"),
        ("training.epochs=${trainig.lr}", "(no setting trainig.lr); expected the name of a setting in ${...}"),
        ("training.epochs=${oc.env:NOT_SET}", "(no environment variable NOT_SET)"),
        ("~nothing", "expected one of "),
        ("hydra.run.dir=null", "expected a value other than null"),
    ],
)
def test_D2_messages_give_key_and_nearest_choice(command: Command, word: str, text: str) -> None:
    answer = command(run_search.main, word)
    refused_alone(command, answer, text)
    assert answer[2].startswith(f"error: got {word}")


@pytest.mark.parametrize(
    "word", ["training.epochs=1.5", "device=meta", "study.time_limit_s=1e30", "seed=true", "study.trials=1e9"]
)
def test_D3_values_are_refused_before_the_search(command: Command, word: str) -> None:
    refused_alone(command, command(run_search.main, word), f"got {word.partition('=')[0]}=")


@pytest.mark.parametrize("words", ["space.max_depth=100000", "space=unet space.depths=[9]"])
def test_D4_sizes_of_spaces_are_bounded(command: Command, words: str) -> None:
    began = time.process_time()
    refused_alone(command, command(run_search.main, *words.split()), words.split()[-1].partition("=")[0])
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize("name", ["../evil", "", LONG, "/evil", "'..'", "a/../../b"])
def test_D5_names_stay_in_their_folder(command: Command, name: str) -> None:
    refused_alone(command, command(run_search.main, f"study.name={name}"), "got study.name=")
    refused_alone(command, command(run_train.main, "arch=naslung/model-1", f"name={name}"), "got name=")


def test_D5_a_sweep_is_refused_before_its_first_job(command: Command) -> None:
    refused_alone(command, command(run_search.main, "-m", "seed=0,x"), "got seed=x")


@pytest.mark.parametrize("values", ["range(0,5,0)", "range(0,1000000000)"])
def test_D1_a_range_that_cannot_be_listed(command: Command, values: str) -> None:
    refused_alone(command, command(run_search.main, "-m", f"seed={values}"), f"seed={values}")


def test_D1_a_group_at_a_key_that_no_command_reads(command: Command) -> None:
    refused_alone(command, command(run_search.main, "+space@foo=unet"), "got +space@foo=unet")


@pytest.mark.parametrize("url", ["foo://u:hidden@h/x", "sqlite://u:hidden@/x", "grpc://u:hidden@127.0.0.1:1"])
def test_D3_a_store_of_another_kind_is_refused_before_the_data(command: Command, url: str) -> None:
    answer = command(run_search.main, f"study.url={url}")
    refused_alone(command, answer, "got study.url=")
    assert "hidden" not in answer[2]


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "m", "scan", "--out", "o", "--threads", "-5"],
        ["serve", "m", "--host", ""],
        ["serve", "m", "--port", "70000"],
        ["board", "--host", " "],
        ["tables", "naslung", "--rows", ""],
        ["compare", "a", "b", "--seed", "5000000000"],
        ["compare", "a", "b", "--resamples", "1.5"],
        ["screen", "ct", "--stride-mm", "nan"],
        ["brats", "evaluate", "t", "--root", "r", "--seed", "-1"],
        ["networks", "--out", ""],
    ],
)
def test_D5_options_of_commands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    answer = voxnas(capsys, *words)
    refused(answer, words[-2])
    assert answer[1] == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["cost", "naslung", "--set", "max_depth=[1"], "--set max_depth=[1"),
        (["cost", "naslung", "--out", "/"], "got /, a folder"),
        (["networks", "--out", "/proc/a.csv"], "got /proc"),
        (["board", "--port", "0", "--folder", "/proc/x"], "got /proc/x"),
    ],
)
def test_D1_outputs_of_commands_are_checked_first(words: list[str], text: str, capsys: pytest.CaptureFixture) -> None:
    answer = voxnas(capsys, *words)
    refused(answer, text)
    assert answer[1:] == ("", answer[2].splitlines()[0] + "\n")


@pytest.mark.parametrize(("word", "near"), [("serch", "voxnas search"), ("studdy", "voxnas study")])
def test_D2_a_misspelt_command(word: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(voxnas(capsys, word), f"fix: {near}")


@pytest.mark.slow
def test_D7_a_refusal_is_one_line_of_a_process(tmp_path: Path) -> None:
    done = started_anew(tmp_path, "run_search.py", "training.epochs=x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: got training.epochs=x; expected a whole number of at least 1; fix: set training.epochs to 1 or more\n"
    )


@pytest.mark.parametrize("seed", ["5000000000", "-1", "1.0"])
def test_G9_seeds_are_refused_first(command: Command, seed: str) -> None:
    for main, *words in ((run_search.main,), (run_train.main, "arch=naslung/model-1")):
        refused_alone(
            command, command(main, *words, f"seed={seed}"), f"got seed={seed}; expected a whole number from 0"
        )


def test_unknown_settings_name_the_nearest_key() -> None:
    known = ["training", "training.epochs", "training.augment", "training.augment.flip", "seed"]
    for typed, near in (("training.augmnt.flip", "training.augment.flip"), ("flip", "training.augment.flip")):
        assert unknown_setting(f"{typed}=1", typed, known).fix == f"write {near}=1"
    assert unknown_setting("zzz=1", "zzz", known).fix == "see --cfg job"
    assert isinstance(explain(ValueError("x")), NASError)


@pytest.mark.slow
def test_D_every_key_of_a_table_takes_no_wrong_number() -> None:
    """Tables are files of `voxnas tables`: each kind of key once, refused by name or of the declared type."""
    content = yaml.safe_load(text_of("table/brain_tumor.yaml"))
    seen: set[tuple[str, ...]] = set()
    for place, key, path in places(content):
        kind = tuple(part for part in path if not part.isdigit())
        if kind in seen or {"values", "call", "steps", "words"} & set(kind):  # published values, arguments of functions
            continue
        seen.add(kind)
        right = place[key]
        for name in (*NEVER, "null", "mapping"):
            place[key] = WRONG[name][0]
            got = refusal_of_table(yaml.safe_dump(content))
            assert got is not None or isinstance(right, str | dict) or name == "null", f"{path}={WRONG[name][0]}"
            assert got is None or "t.yaml" in got
        place[key] = right
    assert len(seen) > 20


def refusal_of_table(text: str) -> str | None:
    try:
        parse(text, "t.yaml")
    except NASError as error:
        return error.got
    return None


def places(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    """Every mapping and list in a table with each of its keys, and the path to it."""
    entries = list(content.items()) if isinstance(content, dict) else []
    entries += list(enumerate(content)) if isinstance(content, list) else []
    for key, value in entries:
        yield content, key, (*path, str(key))
        yield from places(value, (*path, str(key)))
