"""Packages that `voxnas new` writes: installed once by pip, checked, listed, composed and run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest

import run_search
import run_train
from experiments.commands.completion import bash_script
from experiments.conf_files import groups
from experiments.hydra_command import help_page
from nas.utils.plugins import installed, plugin_packages
from tests.commands import Command, refused, voxnas
from tests.conftest import REPO

KINDS = {
    "space": "plainnets",
    "strategy": "climber",
    "evaluator": "repeater",
    "task": "recaller",
    "data": "drawn",
}
LISTS = {"space": "spaces", "strategy": "strategies", "evaluator": "evaluators", "task": "tasks", "data": "data"}
QUICK = ["training=demo", "training.epochs=1", "study.trials=2", "constraints=[]"]
TINY = ["data.size=16", "data.spacing_mm=2.0"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the five packages, as pip installs them there; beside it `source`, as `voxnas new` wrote them."""
    folder = tmp_path_factory.mktemp("plugins")
    launcher = "import sys; from experiments.commands.voxnas import run\n"
    calls = "".join(f"assert run('new', ['{kind}', '{name}']) == 0\n" for kind, name in KINDS.items())
    (folder / "source").mkdir()
    words = [
        sys.executable,
        "-c",
        f"sys_path = {str(REPO)!r}\nimport sys; sys.path.insert(0, sys_path)\n{launcher}{calls}",
    ]
    subprocess.run(words, cwd=folder / "source", check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-compile"]
    sources = [str(folder / "source" / name) for name in KINDS.values()]
    subprocess.run([*pip, "--target", str(folder / "site"), *sources], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def plugins(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The packages as installed ones of this process."""
    monkeypatch.syspath_prepend(str(site))
    invalidate_caches()
    yield site
    for name in [one for one in sys.modules if one.partition(".")[0] in KINDS.values()]:
        del sys.modules[name]


def test_installed_packages_are_found_without_being_imported(plugins: Path) -> None:
    assert set(KINDS.values()) <= set(plugin_packages())
    found = {plugin.module: plugin for plugin in installed()}
    assert found["plainnets"].title == "plainnets 0.1.0"
    assert found["plainnets"].conf == plugins / "plainnets/conf"
    assert not set(KINDS.values()) & set(sys.modules)
    for kind, name in KINDS.items():
        assert name in groups()[kind]
        assert name not in groups(plugins=False)[kind]
    assert "drawn" in groups()["split"]
    assert "plainnets" in bash_script()
    assert not set(KINDS.values()) & set(sys.modules)


@pytest.mark.parametrize("kind", KINDS)
def test_each_package_passes_its_own_checks(kind: str, plugins: Path) -> None:
    name = KINDS[kind]
    spec = plugins.parent / "source" / name / f"tests/test_{name}.py"
    rules = ["--config", str(REPO / "pyproject.toml"), "."]
    for command in (["check"], ["format", "--check"]):
        words = [sys.executable, "-m", "ruff", *command, *rules]
        done = subprocess.run(words, cwd=spec.parents[1], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    own = import_module(name)
    code = compile(spec.read_text(), str(spec), "exec")
    module: dict[str, object] = {"__name__": f"checks_of_{name}"}
    exec(code, module)
    check = next(value for key, value in module.items() if key.startswith("test_the_"))
    cases = {"space": [((1, 16, 16, 16),), ((3, 32, 32),)], "task": [(3, 2), (2, 3)], "data": [(3, True), (2, False)]}
    for arguments in cases.get(kind, [()]):
        check(*arguments)  # type: ignore[operator]
    lines = Path(str(own.__file__)).read_text().splitlines()
    for path in (plugins / name / "conf").rglob("*.yaml"):
        lines += path.read_text().splitlines()
    assert len([line for line in lines if line.strip()]) < 60


def test_each_part_runs_by_its_name_alone(plugins: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """`pip install` and `group=name` are all: neither `hydra.searchpath` nor `allow_packages`."""
    own = {kind: [f"{kind}={name}"] for kind, name in KINDS.items()}
    own["data"].append("split=drawn")
    search = [*own["space"], *own["strategy"], *own["evaluator"], *own["task"], *own["data"]]
    code, _, err = command(run_search.main, *search, *QUICK, "study.name=all")
    assert code == 0, err
    arch = json.loads((command.folder / "outputs/all/arch.json").read_text())
    assert arch["space"]["class"] == "plainnets.PlainnetsSpace"
    assert arch["metrics"].keys() >= {"recall", "error", "macs"}
    assert "mean recall" in (command.folder / "outputs/all/report.html").read_text()
    words = ["arch=outputs/all/arch.json", *QUICK[:2], "name=all", "resamples=20", "rounds=1"]
    words += ["baselines.random_search=false", "baselines.published=null"]
    code, _, err = command(run_train.main, *words)
    assert code == 0, err
    result = json.loads((command.folder / "outputs/train/all/result.json").read_text())
    assert 0 <= result["mean"]["recall"] <= 1
    code, _, err = voxnas(capsys, "export", "outputs/train/all", "--out", "exported")
    assert code == 0, err
    assert list((command.folder / "exported").rglob("model.onnx"))


def test_lists_say_where_parts_come_from(plugins: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, name in KINDS.items():
        code, out, err = voxnas(capsys, LISTS[kind])
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert max(map(len, lines)) <= 80
        (line,) = [one for one in lines if one.startswith(name)]
        assert line.endswith(f"{name} 0.1.0")
        assert lines[1].endswith("built in")
    code, out, _ = voxnas(capsys, "spaces", "--json")
    parts = {part["name"]: part for part in json.loads(out)}
    own, largest = parts["plainnets"], parts["dints"]
    assert (own["kind"], own["networks"], own["exact"]) == ("classification", 18, True)
    assert own["choices"]["activation"] == ["relu", "silu"]
    assert own["ordered"] == ["width", "depth"]
    assert (largest["exact"], largest["networks"] > 10**9) == (False, True)
    code, out, _ = voxnas(capsys, "tasks", "--json")
    assert next(part for part in json.loads(out) if part["name"] == "recaller")["metrics"]["error"] == "minimize"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["space", "unet"], "VoxNAS has as space=unet"),
        (["data", "by_patient"], "VoxNAS has as split=by_patient"),
        (["space", "Plain-Nets"], "small letters"),
        (["space", "class"], "no word of Python"),
        (["space", "torch"], "an installed package has"),
        (["space", "json"], "an installed package has"),
        (["space", "there"], "the folder there, which exists"),
        (["network", "mine"], "one of space, strategy, evaluator, task, data"),
    ],
)
def test_names_and_folders_that_are_taken(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    refused(voxnas(capsys, "new", *words), said)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def write_plugin(site: Path, name: str, code: str, files: dict[str, str], module: str | None = None) -> None:
    """An installed package without pip: its module, its files of conf/ and the metadata that pip would write."""
    package, metadata = site / name, site / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[voxnas.plugins]\n{name} = {module or name}\n")
    for path, text in {"__init__.py": code, **{f"conf/{path}": text for path, text in files.items()}}.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text)


def test_entry_points_of_other_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module within a package, a single module, and one that is missing; none is imported."""
    write_plugin(tmp_path, "inner", "raise RuntimeError", {}, module="inner.parts:anything")
    (tmp_path / "inner/parts/conf/space").mkdir(parents=True)
    (tmp_path / "inner/parts/conf/space/deep.yaml").write_text("_target_: inner.parts.Deep")
    write_plugin(tmp_path, "single", "", {}, module="one_file")
    (tmp_path / "one_file.py").write_text("raise RuntimeError")
    write_plugin(tmp_path, "lacking", "raise RuntimeError", {}, module="lacking.parts")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {plugin.distribution: plugin for plugin in installed()}
    assert found["inner"].conf == tmp_path / "inner/parts/conf"
    assert (found["single"].conf, found["single"].problem) == (None, "")
    assert found["lacking"].problem == "no module lacking.parts"
    assert {"inner", "one_file"} <= set(plugin_packages())
    assert "lacking" not in plugin_packages()
    assert "deep" in groups()["space"]
    assert "deep" in help_page("voxnas search", "", "search", [])


def test_a_broken_plugin_is_one_line_and_stops_nothing_else(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    write_plugin(site, "absent", "", {}, module="nowhere")
    write_plugin(site, "raising", "raise RuntimeError('no licence')", {"strategy/raising.yaml": "_target_: raising.X"})
    write_plugin(site, "empty", "", {"strategy/empty.yaml": "start: 1"})
    monkeypatch.syspath_prepend(str(site))
    code, out, err = command(run_search.main, "--cfg=job", "strategy=random")
    assert code == 0
    assert err.splitlines() == [
        "warning: the plug-in absent 1.0 is left out: no package nowhere; fix: reinstall or uninstall absent"
    ]
    answer = command(run_search.main, "strategy=raising", *TINY)
    refused(answer, "the plug-in raising 1.0", "RuntimeError: no licence")
    code, out, err = voxnas(capsys, "strategies")
    assert code == 0
    assert "raising" not in out
    assert "local_search" in out
    said = err.splitlines()
    assert len(said) == 3
    assert said[0].startswith("warning: strategy=empty of empty 1.0: got a file without _target_")
    assert said[1].startswith("warning: strategy=raising of raising 1.0: got the class 'raising.X' of the plug-in")
    assert "absent 1.0" in said[2]


def test_two_plugins_with_one_name(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused where it is chosen; a file of VoxNAS always wins."""
    site, code = tmp_path / "site", "from nas.strategies import RandomSearch as Own\n"
    for name in ("first", "second"):
        files = {"strategy/both.yaml": f"_target_: {name}.Own", "strategy/pop.yaml": f"_target_: {name}.Own"}
        write_plugin(site, name, code, files)
    monkeypatch.syspath_prepend(str(site))
    for words in (["strategy=both"], ["-m", "strategy=random,both"]):
        answer = command(run_search.main, *words, *TINY)
        refused(answer, "strategy=both, which first 1.0 and second 1.0 both have", "pip uninstall second")
    _, out, _ = command(run_search.main, "--cfg=job", "strategy=pop")
    assert "nas.strategies.PartialOrderPruning" in out
    _, out, err = voxnas(capsys, "strategies")
    assert next(line for line in out.splitlines() if line.startswith("both")).endswith("first 1.0")
    assert "strategy=both of second 1.0: not used, as another package has strategy=both" in err
    assert "strategy=pop of first 1.0: not used" in err


NO_BASE = "class Own:\n    def __init__(self, **kwargs): ...\n"
ABSTRACT = "from {module} import {base}\nclass Own({base}): ...\n"


@pytest.mark.parametrize(
    ("group", "base", "lacking"),
    [
        ("space", "nas.space.SearchSpace", "build"),
        ("strategy", "nas.strategies.base.Strategy", "propose"),
        ("evaluator", "nas.evaluators.base.Evaluator", "evaluate"),
        ("task", "nas.tasks.base.Task", "loss, predict, score"),
        ("data", "nas.data.source.Source", "samples"),
        ("split", "nas.data.splits.Split", ""),
    ],
)
def test_a_class_without_the_base_class(
    group: str, base: str, lacking: str, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, name = base.rpartition(".")
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = {"baseless": NO_BASE, "abstract": ABSTRACT.format(module=module, base=name)}
    for package, text in texts.items():
        (tmp_path / f"{package}_{group}.py").write_text(text)
    words = [f"+{group}._target_=" if group == "task" else f"{group}._target_="]
    answer = command(run_search.main, f"{words[0]}baseless_{group}.Own", *TINY, "strategy=random")
    lacks = f" and lacks {lacking}" if lacking else ""
    refused(answer, f"got the class 'baseless_{group}.Own', which is no {name}{lacks}; expected a subclass of {base};")
    if lacking:
        answer = command(run_search.main, f"{words[0]}abstract_{group}.Own", *TINY, "strategy=random")
        refused(answer, f"got the abstract class 'abstract_{group}.Own', which lacks {lacking}; expected a subclass")
