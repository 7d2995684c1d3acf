"""Names from elsewhere are shown as they are, and passwords are shown nowhere (C5)."""

from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import run_command, write_line
from experiments.config import SearchConfig
from experiments.hydra_main import take_passwords
from experiments.safe_output import SafeStream, safe_output
from experiments.tables.latex import escaped
from nas.errors import NASError, visible
from nas.history import Proposal
from nas.html.page import facts, write_page
from nas.metrics.metric import Metric
from nas.retraining.tables import Row, markdown, terminal_of
from nas.study.password import VARIABLE, take_password, with_password
from nas.study.storage import Store
from nas.utils.markdown_text import markdown_row, markdown_text, without_escapes, without_html
from tests.commands import voxnas
from tests.problems import study_of
from tests.tables import DATA_WORDS, OBJECTIVES, SPACE, records_of

NASTY = "a\x1b[31m\x1b]0;title\x07b\x9b2J\r\u202ec|<script>alert(1)</script>[x](javascript:1)"
SECRET = "hunter2-of-the-tests"
URL = f"postgresql+psycopg://user:{SECRET}@nowhere.invalid:1/db"


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")


def is_plain(text: str) -> bool:
    return not any(character in text for character in "\x1b\x07\x9b\r\u202e")


def test_C5_messages() -> None:
    for part in range(3):
        error = NASError(*[NASTY if part == number else "x" for number in range(3)])
        assert is_plain(str(error))
        assert "\\x1b[31m" in str(error)
    assert len(str(NASError("x" * 10**7, "y", "z"))) < 2000


def test_C5_what_commands_write(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        write_line(NASTY)
        sys.stdout.write(f"{NASTY}\n")
        sys.stderr.write(f"{NASTY} {URL}\n")
        logging.getLogger("x").warning("%s %s", NASTY, URL)
        raise NASError(NASTY, URL, "x")

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("x").addHandler(handler)
    try:
        assert run_command(body) == 2
    finally:
        logging.getLogger("x").removeHandler(handler)
    out, err = capsys.readouterr()
    for text in (out.replace("\r\n", "\n"), err.replace("\r", ""), stream.getvalue()):
        assert is_plain(text)
        assert SECRET not in text
    assert out.count("\\x1b[31m") == 2


def test_C5_progress_lines_stay() -> None:
    stream = io.StringIO()
    SafeStream(stream, progress=True).write("\r\x1b[K\x1b[A1/2 \x1b[31mred\n")
    assert stream.getvalue() == "\r\x1b[K\x1b[A1/2 \\x1b[31mred\n"


def test_C5_output_is_restored() -> None:
    before = sys.stdout, sys.stderr, logging.getLogRecordFactory()
    with safe_output():
        assert sys.stdout is not before[0]
    assert (sys.stdout, sys.stderr, logging.getLogRecordFactory()) == before


def test_C5_tables_in_markdown_html_and_latex() -> None:
    auc = Metric("auc", "AUC", digits=3)
    text = markdown([Row(NASTY, {"auc": 0.5}, {}, {})], f"data {NASTY}", [auc])
    assert is_plain(text)
    assert "<script" not in text
    assert "](" not in text
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines()[2:]}) == 1
    assert visible(NASTY).replace("\\x0d", " ") in terminal_of(text, 500)
    assert is_plain(escaped(NASTY))
    assert "<script" not in facts([(NASTY, NASTY, NASTY)])
    assert "<script" not in without_html(f"# {NASTY}\n")
    assert markdown_row(["a|b", "<b>"]) == "| a\\|b | &lt;b> |"
    assert without_escapes(markdown_text("a < b <i>")) == "a < b <i>"


def test_C5_names_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(f"sqlite:///{tmp_path}/study.db", NASTY, SPACE, OBJECTIVES, {"data": NASTY}, config={"study": {}})
    ticket = study.claim(Proposal(records_of()[0].arch), "0")
    assert ticket is not None
    study.fail(ticket, NASTY)
    study.close()
    for action in ("list", "show", "pareto"):
        code, out, err = voxnas(capsys, "study", action, tmp_path)
        assert code == 0, err
        assert is_plain(out + err)
    _, _, err = voxnas(capsys, "study", "show", tmp_path, "no such")
    assert is_plain(err)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"postgresql://user:{SECRET}@host/db",
        f"postgresql://user:p@{SECRET}@host/db",
        f"postgresql://host/db?user=me&password={SECRET}",
        f"mysql+pymysql://user:{SECRET}@host/db",
    ],
)
def test_C5_a_password_is_taken_out_of_a_url_and_put_back(url: str) -> None:
    assert SECRET not in visible(f"the store {url} is gone")
    clean = take_password(url)
    assert SECRET not in clean
    assert SECRET in os.environ[VARIABLE]
    assert SECRET in with_password(clean)
    assert SECRET not in with_password(clean.replace("host", "elsewhere").replace("nowhere", "elsewhere"))
    assert take_password(clean) == clean


def test_C5_files_have_no_passwords() -> None:
    for url in ("sqlite:///a:b@c.db", "journal:///x:y@z", "postgresql://user@host/db", "grpc://host:1"):
        assert take_password(url) == with_password(url) == url


def test_C5_a_password_reaches_no_configuration() -> None:
    for word in (f"study.url={URL}", f"+study.url={URL}", f"study.url='{URL}'"):
        assert SECRET not in " ".join(take_passwords(["x=1", word]))
    part: dict[str, Any] = {"_target_": "x.Y"}
    parts = dict.fromkeys(("data", "split", "training", "space", "strategy", "evaluator"), part)
    config = SearchConfig.of(
        {**parts, "tracking": {}, "objectives": {"auc": "maximize"}, "study": {"name": "s", "trials": 1, "url": URL}}
    )
    assert SECRET not in str(config.plain())


def test_C5_a_password_reaches_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.study.storage.OPENING_PATIENCE_S", 0.1)
    with pytest.raises(NASError) as caught:
        Store(URL)
    assert SECRET not in str(caught.value)
    assert SECRET not in caught.value.got


@pytest.mark.slow
def test_C5_a_password_reaches_no_file(tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.study.storage.OPENING_PATIENCE_S", 0.1)
    code, out, err = command.search(*DATA_WORDS, f"study.url={URL}", "study.trials=1", "seed=0,1", "-m")
    assert code == 2
    assert SECRET not in out + err
    assert list(tmp_path.rglob("multirun.yaml"))
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_C5_pages_hold_no_control_characters(tmp_path: Path) -> None:
    write_page(tmp_path / "p.html", kicker="a", title="\x1b[31mevil", lead="b", body=["c\x9b"])
    text = (tmp_path / "p.html").read_text()
    assert "\ufffd[31mevil" in text
    assert not set(text) & {"\x1b", "\x9b"}
