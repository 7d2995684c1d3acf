"""Make the pictures of docs/gallery.md and of the tutorials: small runs, and their pages in Chromium at two widths.

python -m docs.gallery            # all pictures
python -m docs.gallery demo tissue
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path

import markdown
from PIL import Image

from tests.own_volumes import write_volumes
from tests.processes import Program
from tests.service.browser import Browser

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images/gallery"
WIDTHS = {1280: 2000, 400: 1500}  # CSS pixels -> greatest height
TABLE = ROOT / "benchmarks/tables/naslung671.h5"
STYLE = "body{font:15px system-ui;margin:24px;max-width:1100px} td,th{border:1px solid #bbb;padding:4px 8px} \
table{border-collapse:collapse;display:block;overflow-x:auto}"
SHORT = "training.epochs=1 training.batch_size=128 constraints=[]"
TRAIN = "resamples=200 rounds=1 baselines.random_search=false baselines.published=null"
NO_BASELINES = f"{TRAIN} baselines.volume=false baselines.features=false"


@dataclass(frozen=True)
class Run:
    """Commands, and the pages that they leave.

    Attributes:
        commands: Words after `voxnas`, in order.
        pages: Name of a picture -> page below outputs/.
        package: Kind and name of a package that `voxnas new` writes and that is installed before.
        files: Name of a file -> the tutorial whose yaml block is its content.
        volumes: Whether there is a csv of synthetic volumes, my.csv.
    """

    commands: tuple[str, ...]
    pages: dict[str, str]
    package: tuple[str, str] | None = None
    files: dict[str, str] = field(default_factory=dict)
    volumes: bool = False


RUNS = {
    "demo": Run(
        (
            "search experiment=demo space.widths=[4,8] space.max_depth=4 study.trials=6 "
            "training.epochs=4 training.batch_size=128 constraints=[]",
            f"train experiment=demo arch=outputs/demo/arch.json {TRAIN} training.epochs=6 training.batch_size=128",
        ),
        {
            "data": "demo/data.html",
            "search": "demo/report.html",
            "live": "demo/live.html",
            "training": "train/demo/report.html",
        },
    ),
    "tissue": Run(
        (
            "search experiment=unet_tissue study.trials=1 training.epochs=2 space.widths=[4] constraints=[]",
            f"train experiment=unet_tissue arch=outputs/unet_tissue/arch.json {NO_BASELINES} training.epochs=8 "
            "baselines.plain_unet=null",
        ),
        {"segmentation": "train/unet_tissue/report.html"},
    ),
    "nodules": Run(
        (
            "train experiment=lung_detector arch=detector/lung-slices data.patients=24 data.slices=2 data.size=64 "
            f"training.epochs=40 training.batch_size=4 {NO_BASELINES}",
        ),
        {"detection": "train/lung_detector/report.html"},
    ),
    "comparison": Run(
        (
            f"search -m experiment=demo evaluator=tabular evaluator.path={TABLE} space.widths=[4,6,8,12,16,24,32] "
            "space.max_depth=4 constraints=[] study.name=replays study.trials=30 strategy=random,pop seed=0,1,2",
        ),
        {"comparison": "replays/compare.html"},
    ),
    "workers": Run(
        (
            "search -m worker=range(0,2) hydra/launcher=joblib experiment=demo study.name=team study.trials=4 "
            f"space.widths=[4,8] space.max_depth=4 {SHORT}",
        ),
        {"many-workers": "team/live.html"},
    ),
    "table": Run(
        ("tables nodules.yaml",),
        {"paper-table": "tables/nodules/table.md"},
        files={"nodules.yaml": "a-paper-table"},
    ),
    "volumes": Run(
        (
            "search data=manifest data.path=my.csv data.spacing_mm=1.0 data.window=[-1000,400] data.size=32 "
            f"study.name=mine study.trials=3 space.widths=[4,8] space.max_depth=4 split.folds=3 {SHORT}",
        ),
        {"your-own-volumes": "mine/data.html"},
        volumes=True,
    ),
    "space": Run(
        (
            "search experiment=demo space=plainnets study.name=plainnets study.trials=6 training.epochs=3 "
            "training.batch_size=128 constraints=[]",
        ),
        {"add-a-space": "plainnets/report.html"},
        ("space", "plainnets"),
    ),
    "strategy": Run(
        (
            f"search experiment=demo strategy=climber study.name=climber evaluator=tabular evaluator.path={TABLE} "
            "space.widths=[4,6,8,12,16,24,32] space.max_depth=4 constraints=[] study.trials=30",
        ),
        {"add-a-strategy": "climber/report.html"},
        ("strategy", "climber"),
    ),
    "evaluator": Run(
        (
            "search experiment=demo evaluator=repeater study.name=repeater study.trials=2 space.widths=[4,8] "
            f"space.max_depth=4 {SHORT}",
        ),
        {"add-an-evaluator": "repeater/report.html"},
        ("evaluator", "repeater"),
    ),
    "task": Run(
        (
            "search experiment=demo task=recaller study.name=recaller study.trials=1 space.widths=[4,8] "
            f"space.max_depth=4 {SHORT}",
            "train experiment=demo task=recaller arch=outputs/recaller/arch.json name=recaller "
            f"{NO_BASELINES} training.epochs=3 training.batch_size=128",
        ),
        {"add-a-task": "train/recaller/report.html"},
        ("task", "recaller"),
    ),
    "data": Run(
        (
            "search data=balls split=balls training=demo study.trials=2 study.name=balls space.widths=[4,8] "
            "space.max_depth=4 training.epochs=1 constraints=[]",
        ),
        {"add-a-data-set": "balls/data.html"},
        ("data", "balls"),
    ),
}


def install(package: tuple[str, str], folder: Path) -> None:
    """Write a package of one's own and install it below a folder."""
    kind, name = package
    voxnas(f"new {kind} {name}", folder)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    target = ["--no-build-isolation", "--target", str(folder / "packages"), str(folder / name)]
    subprocess.run([*pip, *target], check=True)


def prepare(run: Run, folder: Path, cache: Path) -> None:
    """Write and install what a run needs, and link the prepared data to where the commands look for them."""
    (folder / "outputs").mkdir()
    (folder / "outputs/data").symlink_to(cache)
    if run.package is not None:
        install(run.package, folder)
    for name, tutorial in run.files.items():
        page = (ROOT / f"docs/tutorials/{tutorial}.md").read_text(encoding="utf-8")
        (folder / name).write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    if run.volumes:
        write_volumes(folder)


def voxnas(words: str, folder: Path) -> None:
    """Run one command in a folder, with the packages that are installed below it."""
    line = ["-m", "experiments.commands.voxnas", *words.split()]
    done = Program(line, folder, sites=[folder / "packages"]).wait(3000)
    if done.returncode:
        raise SystemExit(f"voxnas {words}\n{done.stdout}\n{done.stderr}")


def shown(image: str) -> bool:
    """Whether a page of the documentation shows a picture of the gallery."""
    return any(f"gallery/{image}" in path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))


def picture(browser: Browser, page: Path, name: str) -> None:
    """Write the pictures that the documentation shows, with 256 colours; a Markdown page becomes HTML first."""
    if page.suffix == ".md":
        body = markdown.markdown(page.read_text(encoding="utf-8"), extensions=["tables"])
        page = page.with_suffix(".html")
        page.write_text(f'<meta charset="utf-8"><style>{STYLE}</style>{body}', encoding="utf-8")
    for width, greatest in WIDTHS.items():
        if not shown(f"{name}-{width}.png"):
            continue
        browser("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        browser.open(page.as_uri())
        height = min(greatest, browser("Page.getLayoutMetrics")["cssContentSize"]["height"])
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = browser("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        image = Image.open(io.BytesIO(b64decode(taken["data"]))).convert("RGB")
        few = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # keeps rare colours
        few.save(IMAGES / f"{name}-{width}.png", optimize=True)
        sys.stdout.write(f"wrote {IMAGES / name}-{width}.png\n")


def main() -> None:
    """Run, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="RUN", help=f"of {', '.join(RUNS)}; without any, all")
    parser.add_argument("--cache", type=Path, default=ROOT / "outputs/data", help="folder of the prepared data")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    IMAGES.mkdir(parents=True, exist_ok=True)
    options.cache.mkdir(parents=True, exist_ok=True)
    for name in options.names or RUNS:
        run = RUNS[name]
        with tempfile.TemporaryDirectory() as home:
            folder = Path(home)
            prepare(run, folder, options.cache.resolve())
            for words in run.commands:
                voxnas(words, folder)
            browser = Browser(folder / "profile")
            try:
                for image, page in run.pages.items():
                    picture(browser, folder / "outputs" / page, image)
            finally:
                browser.close()


if __name__ == "__main__":
    main()
