"""`voxnas explain`: the voxels that a classification rests on, and whether the map depends on what was learned."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import USER_ERROR, Parser, write_line
from experiments.commands.network_options import add_device, add_network, add_reading, networks_of, use_reading
from experiments.time_limit import ends_within
from nas.errors import NASError

if TYPE_CHECKING:
    from nas.explanation.explain import Explanation
    from nas.explanation.montage import Explained
    from nas.inference.cases import Case

EXAMPLES = (
    "voxnas explain outputs/train/x scans/ --out maps",
    "voxnas explain outputs/train/x scan.nii.gz --out maps --method cbam",
)
METHODS = ("gradcam", "cbam")
TABLE, MONTAGE = "explanations.csv", "montage.png"
CORRELATION = "rank correlation with random weights"


def parser() -> Parser:
    """Return the parser of `voxnas explain`.

    Returns:
        The parser.
    """
    explain = Parser("voxnas explain", "Show the voxels that a classification rests on.", EXAMPLES)
    add = explain.add_argument
    add("training", metavar="TRAINING", help="folder of run_train.py; the maps of its folds are averaged")
    add("input", metavar="INPUT", nargs="+", type=Path, help="inputs as of `voxnas predict`")
    add("--out", required=True, type=Path, help="folder of the maps, explanations.csv and montage.png")
    add("--method", choices=METHODS, default="gradcam", help="Grad-CAM, or the gates of CBAM (default: gradcam)")
    add("--layer", metavar="NAME", help="module whose map is shown (default: the last features, or the last CBAM)")
    add("--class", dest="chosen", metavar="NAME", help="class that Grad-CAM explains (default: the answer)")
    add_network(explain)
    add_reading(explain)
    add_device(explain)
    explain.set_defaults(run=run)
    return explain


def run(options: argparse.Namespace) -> int:
    """Explain every input and write maps, a table and a montage.

    Args:
        options: Parsed arguments.

    Returns:
        Exit code: 0, or 2 if an input could not be explained.

    Raises:
        NASError: If the networks cannot be explained.
    """
    from nas.explanation.explain import Explainer, class_number
    from nas.explanation.sanity import HIGH
    from nas.export.torch_network import BundleNetwork
    from nas.inference.cases import find_cases
    from nas.inference.many import FAULTS
    from nas.inference.predict import classes_of, require_alike, write_rows
    from nas.utils.files import exclusive

    loaded = networks_of(options.training, options)
    networks = [network for network in loaded if isinstance(network, BundleNetwork)]
    if not networks:
        expected = "a folder of run_train.py, as maps need gradients and layers"
        raise NASError(f"{options.training}, an exported network", expected, "give the folder of its training")
    use_reading(networks, options)
    require_alike(networks)
    classes = classes_of(networks[0])
    chosen = class_number(options.chosen, classes)
    spec = networks[0].spec
    cases = find_cases(options.input, int(spec.inputs[0].shape[1]), spec.preparation.get("channels", ()))
    explainer = Explainer(networks, options.method, options.layer)
    rows: list[dict[str, Any]] = []
    shown: list[Explained] = []
    failed = 0
    with exclusive(options.out):
        for case in cases:
            try:
                case.require_files()
                with ends_within(options, case.text):
                    found = explainer(case, chosen)
                path = _write(options.out, case, found, options.method)
            except FAULTS as error:
                if len(cases) == 1:
                    raise
                failed += 1
                print(f"error: {case.text}: {error}", file=sys.stderr, flush=True)
                continue
            rows.append(_row(case, found, classes, options.method))
            shown.append(_picture(case, found, classes))
            write_line(_line(case, found, classes, path, HIGH))
        if rows:
            write_rows(options.out / TABLE, rows)
            _write_montage(options.out / MONTAGE, shown, _title(options.method, len(networks)))
            write_line(f"wrote {options.out / TABLE} and {options.out / MONTAGE}")
            _warn(rows, HIGH)
    return USER_ERROR if failed else 0


def _write(folder: Path, case: Case, found: Explanation, method: str) -> Path:
    """Write a map, on the grid of its scan; beyond the crop that the networks saw it is 0."""
    import numpy as np

    from nas.data.io.label_files import write_label_image
    from nas.data.transforms.preparation import values_on_image
    from nas.explanation.explain import map_file
    from nas.utils.files import write_bytes

    path, heat = map_file(folder, case, found, method), found.heat.astype(np.float32)
    if found.ready.grid is None:
        content = io.BytesIO()
        np.save(content, heat, allow_pickle=False)
        write_bytes(path, content.getvalue())
    else:
        if found.ready.box_DHW is not None:
            whole = np.zeros(found.ready.grid.GetSize()[::-1], dtype=np.float32)
            whole[found.ready.box_DHW] = heat
            heat = whole
        write_label_image(path, values_on_image(heat, found.ready, beyond=False), case.paths[0], method)
    return path


def _row(case: Case, found: Explanation, classes: Sequence[str], method: str) -> dict[str, Any]:
    import numpy as np

    defined = np.isfinite(found.correlation)
    return {
        "input": case.text,
        "method": method,
        "class": classes[found.number],
        "probability": round(float(found.probability_K[found.number]), 6),
        CORRELATION: round(found.correlation, 4) if defined else "",
    }


def _picture(case: Case, found: Explanation, classes: Sequence[str]) -> Explained:
    from nas.explanation.montage import Explained

    name, p = classes[found.number], found.probability_K[found.number]
    text = f"{case.name}: {name} {p:.2f}; {CORRELATION} {_number(found.correlation)}"
    return Explained(text, found.ready.x_CDHW[0], found.heat)


def _write_montage(path: Path, shown: Sequence[Explained], title: str) -> None:
    from PIL import Image

    from nas.explanation.montage import montage
    from nas.utils.files import write_bytes

    content = io.BytesIO()
    Image.fromarray(montage(shown, title)).save(content, format="PNG")
    write_bytes(path, content.getvalue())


def _title(method: str, count: int) -> str:
    name = {"gradcam": "Grad-CAM", "cbam": "spatial gate of CBAM"}[method]
    of = f", mean of {count} networks" if count > 1 else ""
    return f"{name}{of}: axial, coronal and sagittal slice through its centre of mass"


def _line(case: Case, found: Explanation, classes: Sequence[str], path: Path, high: float) -> str:
    name, p = classes[found.number], found.probability_K[found.number]
    correlation = f"{CORRELATION} {_number(found.correlation)}"
    note = " (high)" if found.correlation >= high else ""
    return f"{case.text} -> {path}: {name} {p:.3f}; {correlation}{note}"


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "undefined"


def _warn(rows: Sequence[dict[str, Any]], high: float) -> None:
    """Warn if the maps hardly depend on the weights."""
    known = [float(row[CORRELATION]) for row in rows if row[CORRELATION] != ""]
    if not known:
        write_line("sanity check: undefined, as the maps of random networks have one value only")
        return
    mean = sum(known) / len(known)
    write_line(f"sanity check: mean {CORRELATION} {mean:.2f}, of {len(known)} inputs")
    if mean >= high:
        print(
            f"warning: the maps resemble those of networks with random weights (mean rank correlation {mean:.2f}, "
            f"{high} or more): they show the architecture and the image rather than what was learned",
            file=sys.stderr,
        )
