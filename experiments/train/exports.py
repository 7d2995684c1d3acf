"""`run_train.py export=[onnx,openvino]`: the trained networks of the table's row as files, one export per fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.artifact import Artifact
from nas.bundle import Bundle, bundle_folder
from nas.data.splits import Fold
from nas.export.trained import export_bundle, report_files


def export_rounds(
    networks: Sequence[Artifact], rounds: Sequence[Fold], folder: Path, formats: Sequence[str], allow: Sequence[str]
) -> None:
    """Export every network of every fold into `export/<id>-<fold>/` and report the files.

    Args:
        networks: The architectures.
        rounds: The folds that were trained.
        folder: Folder of the training.
        formats: Some of onnx, openvino, openvino_fp16.
        allow: Further packages whose spaces may be imported.

    Raises:
        NASError: If a bundle is damaged, and as `export_bundle` does.
    """
    for network in networks:
        for part in rounds:
            bundle = Bundle.load(bundle_folder(folder, network.arch.id, part.name), trusted=allow)
            out = folder / "export" / f"{network.arch.id}-{part.name}"
            report_files(export_bundle(bundle, out, formats), out, print)
